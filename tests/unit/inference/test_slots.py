"""Loading, swapping and draining, with a fake loader of fake runtimes."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from tests.fakes.slot_loader import FakeLoader, release
from tests.support.releases import TestRelease
from tests.support.serving import route

from carrara.contracts.routes import EndpointRoute, Fallback, RouteTable, SlotState
from carrara.inference.data_plane import DataPlane, JsonRequest, Prediction
from carrara.inference.failures import BadModelOutput, ModelUnavailable
from carrara.inference.prediction_ids import PredictionIds
from carrara.inference.slot import SlotFailed
from carrara.inference.slots import Slots, retry_seconds
from carrara.kernel.clock import SystemClock
from carrara.kernel.errors import NotFound

pytestmark = pytest.mark.anyio
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


@pytest.fixture
def house() -> House:
    plane = DataPlane(PredictionIds(UUID(int=1)), max_in_flight=4, max_rows=100)
    loader = FakeLoader()
    return House(loader, plane, Slots(loader, plane))  # type: ignore[arg-type]  # the same two methods


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not check():
            await asyncio.sleep(0)


async def serving(house: House, *releases: TestRelease) -> None:
    await until(lambda: all(house.state_of(found) is SlotState.READY for found in releases))


async def test_an_answer_names_its_release_and_itself(house: House) -> None:
    house.apply(route(ONE))
    await serving(house, ONE)

    answers = [(await house.ask()).to_json() for _ in range(2)]

    assert answers[0]["predictions"] == [{"prediction": 101.0}]
    assert (answers[0]["release"], answers[0]["model"], answers[0]["version"]) == (ONE.digest, "late", 1)
    assert answers[0]["fallback"] is False
    assert answers[0]["prediction_id"] < answers[1]["prediction_id"]


async def test_until_the_first_release_is_ready_there_is_no_answer(house: House) -> None:
    house.loader.gate = asyncio.Event()
    house.apply(route(ONE))

    with pytest.raises(ModelUnavailable) as caught:
        await house.ask()

    assert caught.value.code == "not_ready"


async def test_an_unknown_endpoint_is_not_found(house: House) -> None:
    with pytest.raises(NotFound):
        await house.ask()


async def test_the_declared_constant_answers_and_is_marked(house: House) -> None:
    house.apply(route(None, fallback=CONSTANT))

    answer = (await house.ask()).to_json()

    assert answer["fallback"] is True
    assert answer["release"] is None
    assert answer["predictions"] == [{"prediction": -1}]


async def test_a_declared_503_is_one(house: House) -> None:
    house.apply(route(None, fallback=Fallback(kind="unavailable")))

    with pytest.raises(ModelUnavailable) as caught:
        await house.ask()

    assert caught.value.code == "no_live_release"


async def test_the_old_release_answers_until_the_new_one_is_ready(house: House) -> None:
    house.apply(route(ONE))
    await serving(house, ONE)
    house.loader.gate = asyncio.Event()

    house.apply(route(TWO, warm=[ONE], target=ONE))

    assert (await house.ask()).to_json()["version"] == 1
    house.loader.gate.set()
    await serving(house, TWO)
    assert (await house.ask()).to_json()["version"] == 2


async def test_a_release_that_does_not_load_leaves_the_old_one_in_place(house: House) -> None:
    house.apply(route(ONE))
    await serving(house, ONE)
    house.loader.failing.add(TWO.digest)

    house.apply(route(TWO, warm=[ONE], target=ONE))
    await until(lambda: house.state_of(TWO) is SlotState.FAILED)

    assert (await house.ask()).to_json()["version"] == 1
    (failed,) = [report for report in house.slots.release_reports() if report.digest == TWO.digest]
    assert (failed.error_code, failed.error) == ("load_failed", "no such luck")


async def test_a_fault_of_ours_is_told_and_does_not_look_like_loading(house: House) -> None:
    house.loader.fault = KeyError("nobody foresaw this")
    house.apply(route(ONE))
    await until(lambda: house.state_of(ONE) is SlotState.FAILED)

    (report,) = house.slots.release_reports()
    assert report.error_code == "internal"
    assert "KeyError: 'nobody foresaw this'" in (report.error or "")


async def test_a_fault_of_ours_in_a_rehearsal_fails_that_release_alone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.apply(route(TWO, warm=[ONE], target=ONE))
    await serving(house, ONE, TWO)

    async def lost(columns: object, rows: int) -> None:
        raise KeyError("nobody foresaw this")

    monkeypatch.setattr(house.loader.runtimes[ONE.digest], "predict", lost)
    await house.slots.rehearse_warm()

    assert house.state_of(ONE) is SlotState.FAILED
    assert house.state_of(TWO) is SlotState.READY


async def test_a_request_keeps_the_release_it_started_with(house: House) -> None:
    house.apply(route(ONE))
    await serving(house, ONE)
    old = house.loader.runtimes[ONE.digest]
    old.held = asyncio.Event()
    slow = asyncio.ensure_future(house.ask())
    await until(lambda: bool(house.plane.stats[ADDRESS].in_flight))

    house.apply(route(TWO))
    await serving(house, TWO)

    assert (await house.ask()).to_json()["version"] == 2
    assert house.state_of(ONE) is SlotState.DRAINING
    assert not old.is_closed
    old.held.set()
    assert (await slow).to_json()["version"] == 1
    await until(lambda: old.is_closed)
    assert house.state_of(ONE) is None


async def test_going_back_takes_the_warm_release_without_loading_it_again(house: House) -> None:
    house.apply(route(ONE))
    await serving(house, ONE)
    house.apply(route(TWO, warm=[ONE], target=ONE))
    await serving(house, ONE, TWO)
    loaded = house.loader.runtimes[ONE.digest]

    house.apply(route(ONE, warm=[TWO]))

    assert (await house.ask()).to_json()["version"] == 1
    assert house.loader.runtimes[ONE.digest] is loaded


async def test_too_many_requests_at_once_are_sent_away(house: House) -> None:
    house.apply(route(ONE))
    await serving(house, ONE)
    house.loader.runtimes[ONE.digest].held = held = asyncio.Event()
    waiting = [asyncio.ensure_future(house.ask()) for _ in range(4)]
    await until(lambda: house.plane.stats[ADDRESS].in_flight == 4)

    with pytest.raises(ModelUnavailable) as caught:
        await house.ask()

    assert caught.value.code == "overloaded"
    held.set()
    assert len(await asyncio.gather(*waiting)) == 4
    assert (await house.ask()).rows == 1


async def test_faults_are_counted_as_the_models(house: House) -> None:
    house.apply(route(ONE))
    await serving(house, ONE)

    with pytest.raises(BadModelOutput):
        await house.ask(act="nan")
    await house.ask()

    (report,) = house.slots.endpoint_reports()
    assert (report.requests, report.errors, report.model_faults) == (2, 1, 1)


async def test_a_release_that_breaks_gives_way_to_the_rollback_target(house: House) -> None:
    house.apply(route(TWO, warm=[ONE], target=ONE))
    await serving(house, ONE, TWO)
    house.loader.runtimes[TWO.digest].trouble = "it died 3 times"

    with pytest.raises(BadModelOutput):
        await house.ask(act="nan")

    assert (await house.ask()).to_json()["version"] == 1
    (report,) = house.slots.endpoint_reports()
    assert (report.live, report.on_fallback) == ([ONE.digest], True)
    assert house.slots.notes() == {"gave_up": {TWO.digest: "it died 3 times"}}


async def test_a_broken_release_is_tried_again_only_when_the_table_changes_for_it(house: House) -> None:
    house.apply(route(TWO, warm=[ONE], target=ONE))
    await serving(house, ONE, TWO)
    house.loader.runtimes[TWO.digest].trouble = "it died 3 times"
    with pytest.raises(BadModelOutput):
        await house.ask(act="nan")
    house.loader.runtimes[TWO.digest].trouble = None

    house.apply(route(TWO, warm=[ONE, THREE], target=ONE))
    assert (await house.ask()).to_json()["version"] == 1

    house.apply(route(ONE))
    house.apply(route(TWO, warm=[ONE], target=ONE))
    await serving(house, TWO)
    assert (await house.ask()).to_json()["version"] == 2


@pytest.mark.parametrize(("fallback", "live"), [(Fallback(kind="unavailable"), []), (None, [TWO.digest])])
async def test_a_release_that_breaks_without_a_way_back_is_never_reported_as_well(
    house: House, fallback: Fallback | None, live: list[str]
) -> None:
    house.apply(route(TWO, fallback=fallback))
    await serving(house, TWO)
    house.loader.runtimes[TWO.digest].trouble = "it died 3 times"

    with pytest.raises(BadModelOutput):
        await house.ask(act="nan")

    (report,) = house.slots.endpoint_reports()
    assert (report.live, report.on_fallback, report.gave_up) == (live, True, [TWO.digest])


async def test_no_rows_need_no_model(house: House) -> None:
    house.apply(route(ONE))
    await serving(house, ONE)

    answer = await house.plane.predict(ADDRESS, JsonRequest(b'{"instances": []}'))

    assert answer.to_json()["predictions"] == []


async def test_a_warm_release_answers_its_golden_set_again(house: House) -> None:
    house.apply(route(TWO, warm=[ONE], target=ONE))
    await serving(house, ONE, TWO)
    before = {report.digest: report.golden_at for report in house.slots.release_reports()}

    await house.slots.rehearse_warm()

    after = {report.digest: report.golden_at for report in house.slots.release_reports()}
    assert after[ONE.digest] != before[ONE.digest]
    assert after[TWO.digest] == before[TWO.digest]


@dataclass
class LateClock(SystemClock):
    """Stands still in the wrong century; `passed` seconds have gone by all the same."""

    passed: float = 0.0

    def now(self) -> datetime:
        return datetime(2000, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.passed


async def test_the_age_of_a_rehearsal_is_told_whatever_the_wall_clock_says(house: House) -> None:
    house.loader.clock = clock = LateClock()
    house.apply(route(ONE))
    await serving(house, ONE)

    clock.passed = 42.5

    assert [report.golden_age_seconds for report in house.slots.release_reports()] == [42.5]


async def test_a_warm_release_that_changed_its_answers_has_failed_and_is_loaded_again(house: House) -> None:
    house.apply(route(TWO, warm=[ONE], target=ONE))
    await serving(house, ONE, TWO)
    house.loader.runtimes[ONE.digest].offset = 7.0

    await house.slots.rehearse_warm()

    assert house.state_of(ONE) is SlotState.FAILED
    await serving(house, ONE)
    assert (await house.ask()).to_json()["version"] == 2


@pytest.mark.parametrize(
    ("code", "pauses"),
    [("load_failed", [5.0, 15.0, 60.0, 300.0, 300.0]), ("store_unavailable", [5.0, 15.0, 15.0, 15.0, 15.0])],
)
async def test_a_store_that_was_away_is_asked_again_soon(code: str, pauses: list[float]) -> None:
    assert [retry_seconds(failures, SlotFailed("no", code=code)) for failures in range(1, 6)] == pauses
