"""Keeps the loaded releases of this process as the route table wants them: load, swap, drain, unload.

A table is applied whole for each endpoint: its requests move when everything it wants live is ready, and until then
what answered before goes on. So a release that does not load never leaves an endpoint without an answer.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from carrara.contracts.release import ReleaseManifest
from carrara.contracts.routes import EndpointReport, ReleaseReport, RouteTable, SlotMode, SlotState
from carrara.inference.data_plane import DataPlane
from carrara.inference.routing import Address, EndpointRouting, Loaded, plan_endpoint
from carrara.inference.slot import LoadedRelease, SlotFailed, SlotLoader

log = logging.getLogger(__name__)

REHEARSE_EVERY_SECONDS = 300.0
_LOADS_AT_ONCE = 2
_RETRY_SECONDS = (5.0, 15.0, 60.0, 300.0)
_STORE_RETRY_SECONDS = 15.0


@dataclass
class _Slot:
    """One release that a table names, or that still has requests."""

    manifest: ReleaseManifest
    state: SlotState = SlotState.LOADING
    release: LoadedRelease | None = None
    failure: SlotFailed | None = None
    failures: int = 0
    task: asyncio.Task[None] | None = None


@dataclass
class Slots:
    """Everything here runs on one event loop. `changed` is called after every change that a report should tell."""

    loader: SlotLoader
    plane: DataPlane
    changed: Callable[[], None] = lambda: None
    table: RouteTable | None = None
    _slots: dict[str, _Slot] = field(default_factory=dict)
    _broke: dict[str, str] = field(default_factory=dict)
    _permits: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_LOADS_AT_ONCE))
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.plane.give_up = self._give_up

    def apply(self, table: RouteTable) -> None:
        """Takes a new table: starts what is missing, and moves the endpoints that can move."""
        before, self.table = self.table, table
        if before is not None:
            self._forgive(before, table)
        for digest in _in_order(table):
            slot = self._slots.get(digest)
            if slot is None:
                slot = self._slots[digest] = _Slot(table.releases[digest])
                slot.task = asyncio.get_running_loop().create_task(self._load(digest, slot))
            elif slot.state is SlotState.DRAINING and slot.release is not None:
                slot.state = SlotState.READY
        self._swap()

    def release_reports(self) -> list[ReleaseReport]:
        return [_report(digest, slot, self.loader.clock.monotonic()) for digest, slot in self._slots.items()]

    def endpoint_reports(self) -> list[EndpointReport]:
        reports = []
        for (project, endpoint), routing in self.plane.routing.items():
            stats = self.plane.stats[project, endpoint]
            reports.append(
                EndpointReport(
                    project=project,
                    endpoint=endpoint,
                    live=[release.digest for release in routing.live],
                    on_fallback=routing.on_fallback,
                    gave_up=list(routing.gave_up),
                    requests=stats.requests,
                    errors=stats.errors,
                    model_faults=stats.model_faults,
                )
            )
        return reports

    def notes(self) -> dict[str, object]:
        """What went otherwise than the table says, for the report."""
        return {"gave_up": dict(self._broke)} if self._broke else {}

    @property
    def is_settled(self) -> bool:
        """Whether every endpoint answers with what the table wants, or has said that it cannot."""
        return all(slot.state is not SlotState.LOADING for slot in self._slots.values())

    async def rehearse_warm(self) -> None:
        """Lets the releases that wait answer their golden sets again: the way back is always tested."""
        live = {release.digest for routing in self.plane.routing.values() for release in routing.live}
        for digest, slot in list(self._slots.items()):
            if slot.state is not SlotState.READY or slot.release is None or digest in live:
                continue
            try:
                await slot.release.rehearse(self.loader.clock)
            except SlotFailed as error:
                self._fail(digest, slot, error)
            except Exception as error:  # noqa: BLE001  # else one release would end the process
                self._fail(digest, slot, _internal(digest, error))
            self.changed()

    async def close(self) -> None:
        for slot in self._slots.values():
            if slot.task is not None:
                slot.task.cancel()
        tasks = [slot.task for slot in self._slots.values() if slot.task is not None]
        await asyncio.gather(*tasks, *self._closing, return_exceptions=True)
        releases = [slot.release for slot in self._slots.values() if slot.release is not None]
        await asyncio.gather(*(release.runtime.close() for release in releases))

    async def _load(self, digest: str, slot: _Slot) -> None:
        while True:
            try:
                async with self._permits:
                    release = await self.loader.load(digest, slot.manifest)
            except SlotFailed as error:
                self._fail(digest, slot, error)
            except Exception as error:  # noqa: BLE001  # else the release would seem to load for ever
                self._fail(digest, slot, _internal(digest, error))
            else:
                slot.release, slot.failure, slot.state = release, None, SlotState.READY
                log.info("release %s is ready after %.2f s", digest, release.load_seconds)
                self._swap()
                return
            await asyncio.sleep(retry_seconds(slot.failures, slot.failure))

    def _fail(self, digest: str, slot: _Slot, error: SlotFailed) -> None:
        log.error("release %s cannot serve here: %s: %s", digest, error.code, error.message)
        slot.failure, slot.state = error, SlotState.FAILED
        slot.failures += 1
        release, slot.release = slot.release, None
        if release is not None:
            self._unload(release)
            slot.task = asyncio.get_running_loop().create_task(self._load(digest, slot))
        self._swap()

    def _give_up(self, digest: str, why: str) -> None:
        """The local breaker (D8): no request goes to this release until the table changes for its endpoint."""
        if digest not in self._broke:
            log.error("release %s gets no more requests here: %s", digest, why)
            self._broke[digest] = why
            self._swap()

    def _forgive(self, before: RouteTable, after: RouteTable) -> None:
        """A broken release gets another try only when someone changed what its endpoints want."""
        changed = set(_lives(after).items()) ^ set(_lives(before).items())
        touched = {digest for _, lives in changed for digest in lives}
        self._broke = {digest: why for digest, why in self._broke.items() if digest not in touched}

    def _swap(self) -> None:
        table = self.table
        if table is None:
            return
        loaded = Loaded(
            ready={
                digest: slot.release
                for digest, slot in self._slots.items()
                if slot.release is not None and slot.state is SlotState.READY
            },
            failed=frozenset(digest for digest, slot in self._slots.items() if slot.state is SlotState.FAILED),
            broke=frozenset(self._broke),
        )
        before = self.plane.routing
        routing: dict[Address, EndpointRouting] = {}
        for route in table.endpoints:
            address = (route.project, route.endpoint)
            routing[address] = plan_endpoint(route, loaded, before.get(address))
        self.plane.swap(routing)
        self._release_unneeded(table, routing.values())
        self.changed()

    def _release_unneeded(self, table: RouteTable, routings: Iterable[EndpointRouting]) -> None:
        needed = set(_in_order(table)) | {release.digest for routing in routings for release in routing.live}
        for digest, slot in list(self._slots.items()):
            if digest in needed or slot.state is SlotState.DRAINING:
                continue
            if slot.task is not None:
                slot.task.cancel()
            if slot.release is None:
                del self._slots[digest]
            else:
                slot.state = SlotState.DRAINING
                self._spawn(self._drain(digest, slot))

    async def _drain(self, digest: str, slot: _Slot) -> None:
        if slot.release is None:
            return
        await slot.release.drained()
        if slot.state is SlotState.DRAINING and self._slots.pop(digest, None) is slot:  # else it is wanted again
            await slot.release.runtime.close()
            self.changed()

    def _unload(self, release: LoadedRelease) -> None:
        async def unload() -> None:
            await release.drained()
            await release.runtime.close()

        self._spawn(unload())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _internal(digest: str, error: Exception) -> SlotFailed:
    """For what nobody foresaw: the release says that it failed, and does not seem to load for ever."""
    log.error("release %s met a fault of ours", digest, exc_info=error)
    return SlotFailed(f"a fault of Carrara's, {type(error).__name__}: {error}; serving's log has it", code="internal")


def retry_seconds(failures: int, failure: SlotFailed | None) -> float:
    """How long to wait after so many failures. A store that comes back is no fault of the release: look often."""
    pause = _RETRY_SECONDS[min(failures, len(_RETRY_SECONDS)) - 1]
    is_store = failure is not None and failure.code == "store_unavailable"
    return min(pause, _STORE_RETRY_SECONDS) if is_store else pause


def _lives(table: RouteTable) -> dict[Address, tuple[str, ...]]:
    return {
        (route.project, route.endpoint): tuple(
            sorted(slot.release for slot in route.slots if slot.mode is SlotMode.LIVE)
        )
        for route in table.endpoints
    }


def _in_order(table: RouteTable) -> list[str]:
    """The releases that the table names and describes: live ones first, then rollback targets, then candidates."""
    ranks: dict[str, int] = {}
    for route in table.endpoints:
        for slot in route.slots:
            rank = 0 if slot.mode is SlotMode.LIVE else 1 if slot.release == route.rollback_target else 2
            ranks[slot.release] = min(rank, ranks.get(slot.release, rank))
    return sorted((digest for digest in ranks if digest in table.releases), key=lambda digest: (ranks[digest], digest))


def _report(digest: str, slot: _Slot, now: float) -> ReleaseReport:
    release, rehearsal = slot.release, slot.release.rehearsal if slot.release is not None else None
    return ReleaseReport(
        digest=digest,
        state=slot.state,
        hashed_digest=release.hashed_digest if release is not None else None,
        error_code=slot.failure.code if slot.failure is not None else None,
        error=slot.failure.message[:2000] if slot.failure is not None else None,
        load_seconds=round(release.load_seconds, 4) if release is not None else None,
        golden_rows=rehearsal.rows if rehearsal is not None else None,
        golden_seconds=round(rehearsal.seconds, 4) if rehearsal is not None else None,
        golden_at=rehearsal.at if rehearsal is not None else None,
        golden_age_seconds=round(max(0.0, now - rehearsal.ended), 3) if rehearsal is not None else None,
    )
