"""What runs in a data directory, found out now: by the kernel and by asking each process, never from memory alone."""

import asyncio
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from carrara.embedded.child import ChildState
from carrara.embedded.children import is_alive
from carrara.embedded.layout import DataDirectory
from carrara.embedded.probes import answers
from carrara.embedded.state import ProcessRecord, StackRecord
from carrara.processes import ProbeKind


class Verdict(StrEnum):
    """Of the whole: HEALTHY, DEGRADED (something is not as it should be), NOT_RUNNING."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    NOT_RUNNING = "not_running"


@dataclass(frozen=True)
class ProcessStatus:
    """One process now. `answer` is ready, no_answer, alive (no better evidence), finished or gone."""

    name: str
    state: str
    answer: str
    pid: int | None
    port: int | None
    uptime_seconds: float | None
    restarts: int
    detail: str

    @property
    def is_healthy(self) -> bool:
        return self.answer in ("ready", "alive", "finished")


@dataclass(frozen=True)
class StackStatus:
    """All of it, with the evidence."""

    verdict: Verdict
    state: str
    data_dir: str
    supervisor_pid: int | None
    uptime_seconds: float | None
    urls: dict[str, str]
    processes: tuple[ProcessStatus, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def look(data_dir: Path) -> StackStatus:
    """Asks every process now. Unavailable if it cannot be found out whether anything runs."""
    place = DataDirectory(data_dir.absolute())
    locked, record = place.run.is_locked(), place.run.read()
    if not locked or record is None or not is_alive(record.supervisor):
        return StackStatus(Verdict.NOT_RUNNING, "stopped", str(place.root), None, None, {}, ())
    processes = asyncio.run(_ask_all(record, place.secrets))
    healthy = record.state == "ready" and all(process.is_healthy for process in processes)
    return StackStatus(
        verdict=Verdict.HEALTHY if healthy else Verdict.DEGRADED,
        state=record.state,
        data_dir=str(place.root),
        supervisor_pid=record.supervisor.pid,
        uptime_seconds=round(time.time() - record.started_at, 1),
        urls=dict(record.urls),
        processes=processes,
    )


async def _ask_all(record: StackRecord, secrets: Path) -> tuple[ProcessStatus, ...]:
    return tuple(await asyncio.gather(*(_ask(row, secrets) for row in record.processes)))


async def _ask(row: ProcessRecord, secrets: Path) -> ProcessStatus:
    alive = row.identity is not None and is_alive(row.identity)
    if row.state == ChildState.DONE:
        answer = "finished"
    elif not alive:
        answer = "gone"
    elif row.probe.kind in (ProbeKind.RUNS, ProbeKind.FINISHES):
        answer = "alive"
    else:
        answer = "ready" if await answers(row.probe, secrets) else "no_answer"
    return ProcessStatus(
        name=row.name,
        state=row.state,
        answer=answer,
        pid=row.identity.pid if row.identity and alive else None,
        port=row.probe.port or None,
        uptime_seconds=round(time.time() - row.since, 1) if alive else None,
        restarts=row.restarts,
        detail=row.detail,
    )
