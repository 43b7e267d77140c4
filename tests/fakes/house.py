"""A process's slots and data plane over a fake loader."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tests.fakes.slot_loader import FakeLoader, release
from tests.support.releases import TestRelease

from carrara.contracts.routes import EndpointRoute, Fallback, RouteTable, SlotState
from carrara.inference.data_plane import DataPlane, JsonRequest, Prediction
from carrara.inference.prediction_ids import PredictionIds
from carrara.inference.slots import Slots

ADDRESS = ("flights", "late")
CONSTANT = Fallback(kind="constant", prediction=-1)


ONE, TWO, THREE = release(1), release(2), release(3)


@dataclass
class House:
    loader: FakeLoader
    plane: DataPlane
    slots: Slots
    generation: int = 0

    def apply(self, endpoint: EndpointRoute) -> None:
        self.generation += 1
        described = {found.digest: found.manifest for found in (ONE, TWO, THREE)}
        self.slots.apply(RouteTable(generation=self.generation, endpoints=[endpoint], releases=described))

    async def ask(self, value: float = 1.0, **more: Any) -> Prediction:
        body = json.dumps({"instances": [{"value": value, **more}]}).encode()
        return await self.plane.predict(ADDRESS, JsonRequest(body))

    def state_of(self, wanted: TestRelease) -> SlotState | None:
        states = {report.digest: report.state for report in self.slots.release_reports()}
        return states.get(wanted.digest)


def make_house() -> House:
    plane = DataPlane(PredictionIds(UUID(int=1)), max_in_flight=4, max_rows=100)
    loader = FakeLoader()
    return House(loader, plane, Slots(loader, plane))  # type: ignore[arg-type]  # the same two methods


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not check():
            await asyncio.sleep(0)


async def serving(house: House, *releases: TestRelease) -> None:
    await until(lambda: all(house.state_of(found) is SlotState.READY for found in releases))
