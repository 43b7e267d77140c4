"""Carries what a child says into the database, at most once a second, under the attempt's fence."""

import json
import logging
import threading
import time
from pathlib import Path
from typing import Any

from carrara.contracts.jobs import JobProgress
from carrara.jobs import leases
from carrara.jobs.events import EventFold
from carrara.jobs.jsonable import NotJson
from carrara.jobs.keeper import Interruption, LeaseKeeper
from carrara.jobs.output import OutputChunks
from carrara.jobs.ports import ClaimedJob
from carrara.kernel.clock import Clock
from carrara.kernel.errors import Unavailable
from carrara.kernel.ids import uuid7
from carrara.persistence.database import Database

FLUSH_SECONDS = 1.0
MAX_EVENTS_BYTES = 64 << 20
_MAX_COMPLAINTS = 20
_MAX_HELD_PIECES = 256
_AGAIN_SECONDS = 0.5
_log = logging.getLogger(__name__)


class Reporter:
    """One attempt's progress, metrics and output. Its methods may be called from several threads.

    While the database is away, output waits here; it is bounded, since `OutputChunks` is.
    """

    def __init__(self, database: Database, job: ClaimedJob, keeper: LeaseKeeper, *, events: Path, clock: Clock) -> None:
        self._database = database
        self._job = job
        self._keeper = keeper
        self._clock = clock
        self._lock = threading.Lock()
        self._fold = EventFold()
        self._output = OutputChunks()
        self._pieces: list[str] = []
        self._next_chunk = 0
        self._flushed_at = clock.monotonic() - FLUSH_SECONDS
        self._complaints = 0
        self._events_left = MAX_EVENTS_BYTES
        self._events = events.open("a", encoding="utf-8")

    @property
    def fold(self) -> EventFold:
        return self._fold

    def add_event(self, event: dict[str, Any]) -> None:
        """Takes one event of the child's; one that is malformed becomes a line in the job's own log."""
        with self._lock:
            try:
                self._fold.add(event)
            except NotJson as error:
                self._complain(str(error))
            for point in self._fold.take_metric_points():
                self._write_metric(json.dumps({**point, "at": self._clock.now().isoformat()}))

    def add_output(self, data: bytes) -> None:
        """Takes what the child printed."""
        with self._lock:
            self._output.add(data)

    def complain(self, what: str) -> None:
        """Puts a line of ours into the job's log."""
        with self._lock:
            self._complain(what)

    def seconds_to_flush(self) -> float:
        """How long until `flush_if_due` would do something."""
        return max(self._flushed_at + FLUSH_SECONDS - self._clock.monotonic(), 0.0)

    def flush_if_due(self) -> None:
        """Writes what is new, unless the last time is less than a second ago."""
        if self.seconds_to_flush() == 0.0:
            self.flush()

    def flush(self) -> None:
        """Writes what is new. If the lease is lost, the keeper hears of it."""
        with self._lock:
            self._pieces += self._output.take()
            self._flush()

    def finish(self) -> None:
        """Writes all that is left, when the child is gone; waits for the database as long as the lease may hold."""
        with self._lock:
            self._pieces += self._output.finish()
            while not self._flush() and self._keeper.interruption is not Interruption.LOST:
                time.sleep(_AGAIN_SECONDS)

    def close(self) -> None:
        self._events.close()

    def _flush(self) -> bool:
        """False if the database is away."""
        self._events.flush()
        progress = self._fold.take_progress()
        self._flushed_at = self._clock.monotonic()
        if not self._pieces and progress is None:
            return True
        try:
            self._write(progress)
        except Unavailable as error:
            self._fold.has_news = self._fold.has_news or progress is not None
            del self._pieces[_MAX_HELD_PIECES:]
            _log.warning("job %s: its output waits for the database: %s", self._job.id, error)
            return False
        return True

    def _write(self, progress: JobProgress | None) -> None:
        chunk = self._next_chunk
        with self._database.transaction(self._keeper.scope) as session:
            is_held = progress is None or leases.set_progress(session, self._job, progress)
            for piece in self._pieces:
                is_held = is_held and leases.append_log(session, self._job, uuid7(), chunk, piece)
                chunk += 1
        if not is_held:
            self._keeper.interrupt(Interruption.LOST)
        self._next_chunk = chunk
        self._pieces.clear()

    def _write_metric(self, line: str) -> None:
        if self._events_left <= 0:
            return
        self._events_left -= len(line) + 1
        self._events.write(line + "\n")
        if self._events_left <= 0:
            self._complain("too many metric events; from here they are not kept")

    def _complain(self, what: str) -> None:
        self._complaints += 1
        if self._complaints <= _MAX_COMPLAINTS:
            self._output.add(f"[carrara: {what}]\n".encode())
