"""A runtime without a process that does what `OddModel` does, and passes the contract test of the real one."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.releases import ODD_CONTRACT

from carrara.inference.failures import ModelCrashed, ModelRaised, ModelTooSlow, ModelUnavailable
from carrara.inference.outputs import checked_outputs


class FakeRuntime:
    """Answers `value + offset`; `held` can hold its answers back."""

    def __init__(self, offset: float = 0.0, *, deadline_seconds: float = 10.0) -> None:
        self.offset = offset
        self.trouble: str | None = None
        self.is_closed = False
        self.held: asyncio.Event | None = None
        self._deadline_seconds = deadline_seconds
        self._closed = asyncio.Event()

    async def predict(self, columns: Mapping[str, Sequence[Any]], rows: int) -> dict[str, list[Any]]:
        if self.is_closed:
            raise ModelUnavailable("closed", code="not_ready")
        try:
            async with asyncio.timeout(self._deadline_seconds):
                await self._work(columns)
        except TimeoutError as error:
            raise ModelTooSlow("too slow") from error
        acts = list(columns["act"])
        if "raise" in acts:
            raise ModelRaised("the model raised KeyError: 'this model raises'")
        if "exit" in acts or "segv" in acts:
            raise ModelCrashed("gone")
        values: list[Any] = [value + self.offset for value in columns["value"]]
        if "nan" in acts:
            values[0] = float("nan")
        return checked_outputs({"prediction": values[1:] if "short" in acts else values}, rows, ODD_CONTRACT)

    async def close(self) -> None:
        self.is_closed = True
        self._closed.set()

    async def _work(self, columns: Mapping[str, Sequence[Any]]) -> None:
        if self.held is not None:
            await self.held.wait()
        seconds = max((value or 0.0 for value in columns["seconds"]), default=0.0)
        if seconds:
            closed = asyncio.ensure_future(self._closed.wait())
            done, _ = await asyncio.wait({closed}, timeout=seconds)
            if done:
                raise ModelUnavailable("closed", code="not_ready")
            closed.cancel()
