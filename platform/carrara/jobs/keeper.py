"""Holding on to a lease while an attempt runs, and hearing that it must end."""

import logging
import threading
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Self

from carrara.jobs import leases
from carrara.jobs.ports import ClaimedJob
from carrara.kernel.clock import Clock
from carrara.kernel.errors import Unavailable
from carrara.persistence.database import Database, Scope

_log = logging.getLogger(__name__)


class Interruption(StrEnum):
    """Why an attempt must end early. LOST: another attempt may be running, nothing may be written any more."""

    CANCELLED = "cancelled"
    LOST = "lost"
    RELEASED = "released"


class LeaseKeeper:
    """Renews one attempt's lease in a thread of its own, from `with` to its end.

    The first interruption stands. While the database is away the attempt goes on until its lease must have run out.
    """

    def __init__(
        self, database: Database, job: ClaimedJob, clock: Clock, *, lease_seconds: float, heartbeat_seconds: float
    ) -> None:
        self._database = database
        self._job = job
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._held_since = clock.monotonic()
        self._lock = threading.Lock()
        self._interruption: Interruption | None = None
        self._on_interruption: Callable[[], None] | None = None
        self._wake = threading.Event()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name=f"lease-{job.id}", daemon=True)

    @property
    def scope(self) -> Scope:
        """What the attempt's own transactions may see."""
        return Scope(self._job.project_id, self._job.submitted_by)

    @property
    def interruption(self) -> Interruption | None:
        return self._interruption

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        self._wake.set()
        self._thread.join()

    def nudge(self) -> None:
        """Look now: somebody may have asked for a cancel."""
        self._wake.set()

    def interrupt(self, why: Interruption) -> None:
        """Ends the attempt for this reason, unless it has one already."""
        with self._lock:
            if self._interruption is not None:
                return
            self._interruption = why
            act = self._on_interruption
        if act is not None:
            act()

    def when_interrupted(self, act: Callable[[], None] | None) -> None:
        """What to do at an interruption, from whichever thread it comes; at once if it has come already."""
        with self._lock:
            self._on_interruption = act
            is_late = self._interruption is not None
        if is_late and act is not None:
            act()

    def _run(self) -> None:
        while not self._is_over:
            self._wake.wait(self._heartbeat_seconds)
            self._wake.clear()
            if self._is_over or self._interruption is Interruption.LOST:
                continue
            self._beat()

    def _beat(self) -> None:
        asked_at = self._clock.monotonic()
        try:
            with self._database.transaction(self.scope) as session:
                is_cancel_requested = leases.renew(session, self._job, self._lease_seconds)
        except Unavailable as error:
            if self._clock.monotonic() - self._held_since > self._lease_seconds:
                _log.warning("job %s: the lease ran out while the database was away: %s", self._job.id, error)
                self.interrupt(Interruption.LOST)
            return
        except Exception:  # noqa: BLE001  # a thread that dies silently would cost the lease without anyone knowing why
            _log.exception("job %s: the heartbeat failed", self._job.id)
            return
        if is_cancel_requested is None:
            self.interrupt(Interruption.LOST)
            return
        self._held_since = asked_at
        if is_cancel_requested:
            self.interrupt(Interruption.CANCELLED)
