"""Keeps this process in step with the platform: takes new route tables, reports what it serves, and outlives both."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from carrara.contracts.routes import InstanceReport, RouteTable
from carrara.inference.slots import Slots
from carrara.kernel.clock import Clock
from carrara.serving.platform_client import PlatformAway, PlatformClient, Unchanged
from carrara.serving.route_file import RouteFile

log = logging.getLogger(__name__)

REPORT_SECONDS = 1.0
_MIN_REPORT_SECONDS = 0.02
_BACK_OFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
_SAVE_SECONDS = 30.0
_SAME_AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class Identity:
    """This process: `index` among the processes of `instance`, and which start of it this is."""

    instance: str
    index: int
    boot_id: UUID


@dataclass
class Follower:
    """`trouble`: why the platform could not be followed just now, or empty. `taken` is called with each new table.

    `confirmed_at`: when the platform last confirmed the table, by the wall clock. That is for people and for the next
    start; how long ago it was is counted by the monotonic clock.
    """

    identity: Identity
    client: PlatformClient
    file: RouteFile
    slots: Slots
    clock: Clock
    taken: Callable[[RouteTable], None]
    confirmed_at: datetime | None = None
    trouble: str = ""
    _confirmed_mark: float = float("-inf")
    _saved_at: float = 0.0
    _is_ahead: bool = False
    _reports: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.slots.changed = self._wake.set

    @property
    def stale_seconds(self) -> float:
        """How long ago the platform last confirmed the table; infinity if never."""
        return self.clock.monotonic() - self._confirmed_mark

    def start_from_disk(self) -> None:
        """Serves by the saved table until the platform answers."""
        saved = self.file.read()
        if saved is not None:
            age = max(0.0, (self.clock.now() - saved.confirmed_at).total_seconds())
            self._confirm(saved.confirmed_at, self.clock.monotonic() - age)
            self._take(saved.table)

    async def follow(self) -> None:
        """Long-polls for ever."""
        failures = 0
        while True:
            table = self.slots.table
            asked_at = self.clock.monotonic()
            try:
                known = table.generation if table is not None and not self._is_ahead else None
                answer = await self.client.routes(known)
            except PlatformAway as error:
                if self.trouble != error.message:
                    log.warning("%s", error.message)
                self.trouble = error.message
                pause = _BACK_OFF_SECONDS[min(failures, len(_BACK_OFF_SECONDS) - 1)]
                failures += 1
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads the herd, no secret
                continue
            failures, self.trouble, self._is_ahead = 0, "", False
            self._confirm(self.clock.now(), self.clock.monotonic())
            is_new = not isinstance(answer, Unchanged)
            if not isinstance(answer, Unchanged):
                self._take(answer)
            await self._save(force=is_new)
            if not is_new and self.clock.monotonic() - asked_at < _SAME_AGAIN_SECONDS:
                await asyncio.sleep(_SAME_AGAIN_SECONDS)  # it did not wait: do not ask in a tight loop

    async def report(self) -> None:
        """Reports every second, and at once after a change, for ever."""
        while True:
            self._wake.clear()
            try:
                self._reports += 1
                self._hear(await self.client.report(self.current_report()))
            except PlatformAway as error:
                log.debug("%s", error.message)
            await asyncio.sleep(_MIN_REPORT_SECONDS)
            try:
                async with asyncio.timeout(REPORT_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _hear(self, generation: int) -> None:
        """Every report's answer confirms the table, or says that the platform went back to an older one."""
        table = self.slots.table
        if table is not None and generation == table.generation:
            self._confirm(self.clock.now(), self.clock.monotonic())
        self._is_ahead = table is not None and generation < table.generation

    def _confirm(self, at: datetime, mark: float) -> None:
        self.confirmed_at, self._confirmed_mark = at, mark

    def current_report(self) -> InstanceReport:
        table = self.slots.table
        notes = dict(self.slots.notes())
        if self.trouble:
            notes["trouble"] = self.trouble
        if self.confirmed_at is not None:
            notes["routes_confirmed_at"] = self.confirmed_at.isoformat()
        return InstanceReport(
            instance=self.identity.instance,
            index=self.identity.index,
            boot_id=self.identity.boot_id,
            sequence=self._reports,
            generation=table.generation if table is not None else -1,
            releases=self.slots.release_reports(),
            endpoints=self.slots.endpoint_reports(),
            notes=notes,
        )

    def _take(self, table: RouteTable) -> None:
        log.info("route table %d names %d endpoints", table.generation, len(table.endpoints))
        self.taken(table)
        self.slots.apply(table)

    async def _save(self, *, force: bool) -> None:
        now = self.clock.monotonic()
        table, confirmed_at = self.slots.table, self.confirmed_at
        if table is None or confirmed_at is None or (not force and now - self._saved_at < _SAVE_SECONDS):
            return
        self._saved_at = now
        await asyncio.to_thread(self.file.write, table, confirmed_at)
