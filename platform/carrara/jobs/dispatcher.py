"""Gives this worker's free slots the jobs that wait: woken by a ring, by a freed slot, or by its own poll."""

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from carrara.jobs.attempts import Handlers, claim
from carrara.jobs.keeper import Interruption, LeaseKeeper
from carrara.jobs.ports import ClaimedJob
from carrara.kernel.clock import Clock
from carrara.kernel.crashpoint import crashpoint
from carrara.kernel.errors import Unavailable
from carrara.kernel.heartbeat import beat
from carrara.kernel.telemetry import log_context
from carrara.persistence.database import EVERYTHING, Database

_JITTER = 0.25
_log = logging.getLogger(__name__)

RunAttempt = Callable[[ClaimedJob, LeaseKeeper], None]


@dataclass(frozen=True)
class WorkerSettings:
    """Who this worker is and how it paces itself; seconds."""

    name: str
    slots: int
    lease_seconds: float
    heartbeat_seconds: float
    poll_seconds: float


class Dispatcher:
    """Claims jobs for `slots` threads. Celery, NOTIFY and the poll only make it look: the table decides."""

    def __init__(
        self, database: Database, handlers: Handlers, run: RunAttempt, *, settings: WorkerSettings, clock: Clock
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._run_attempt = run
        self._settings = settings
        self._clock = clock
        self._bell = threading.Event()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._keepers: dict[UUID, LeaseKeeper] = {}
        self._threads: set[threading.Thread] = set()
        self._loop = threading.Thread(target=self._dispatch, name="dispatcher", daemon=True)

    def start(self) -> None:
        self._loop.start()

    def ring(self, job_id: UUID | None = None) -> None:
        """Look into the table now; if the job is one of ours, somebody wants something of it. Never blocks."""
        with self._lock:
            keeper = self._keepers.get(job_id) if job_id is not None else None
        if keeper is not None:
            keeper.nudge()
        self._bell.set()

    def hear(self, payload: str | None) -> None:
        """A ring by NOTIFY: a job's id, or None when notifications may have been missed."""
        try:
            self.ring(UUID(payload) if payload else None)
        except ValueError:
            self.ring()

    def stop(self, drain_seconds: float, end_seconds: float = 5.0) -> None:
        """Claims no more. Running jobs get `drain_seconds` to end, then they go back to the queue."""
        self._stopping.set()
        self._bell.set()
        self._loop.join()
        self._join(drain_seconds)
        with self._lock:
            left = list(self._keepers.values())
        for keeper in left:
            keeper.interrupt(Interruption.RELEASED)
        self._join(end_seconds)

    @property
    def running_count(self) -> int:
        """Slots in use."""
        return len(self._threads)

    def _dispatch(self) -> None:
        while not self._stopping.is_set():
            while self._has_room() and not self._stopping.is_set():
                job = self._claim()
                if job is None:
                    break
                self._begin(job)
            beat()
            spread = self._settings.poll_seconds * _JITTER
            self._bell.wait(self._settings.poll_seconds + random.uniform(-spread, spread))  # noqa: S311  # no secret
            self._bell.clear()

    def _has_room(self) -> bool:
        with self._lock:
            return len(self._threads) < self._settings.slots

    def _claim(self) -> ClaimedJob | None:
        settings = self._settings
        try:
            with self._database.transaction(EVERYTHING) as session:
                job = claim(session, self._handlers, worker=settings.name, lease_seconds=settings.lease_seconds)
        except Unavailable as error:
            _log.warning("cannot look for jobs: %s", error)
            return None
        except Exception:  # noqa: BLE001  # a dispatcher that dies would leave a worker that looks alive and does nothing
            _log.exception("looking for jobs failed")
            return None
        if job is not None:
            crashpoint("job.claimed")
        return job

    def _begin(self, job: ClaimedJob) -> None:
        keeper = LeaseKeeper(
            self._database,
            job,
            self._clock,
            lease_seconds=self._settings.lease_seconds,
            heartbeat_seconds=self._settings.heartbeat_seconds,
        )
        thread = threading.Thread(target=self._work, args=(job, keeper), name=f"job-{job.id}", daemon=True)
        with self._lock:
            self._keepers[job.id] = keeper
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # no thread or memory to be had; the lease will run out and the job starts again
            _log.exception("attempt %d of job %s could not be begun", job.attempt, job.id)
            with self._lock:
                del self._keepers[job.id]
                self._threads.discard(thread)

    def _work(self, job: ClaimedJob, keeper: LeaseKeeper) -> None:
        try:
            with log_context(job=job.id, attempt=job.attempt, project=job.project), keeper:
                self._run_attempt(job, keeper)
        except Exception:  # noqa: BLE001  # the lease will run out and the job starts again
            _log.exception("attempt %d of job %s was abandoned", job.attempt, job.id)
        finally:
            with self._lock:
                if self._keepers.get(job.id) is keeper:
                    del self._keepers[job.id]
                self._threads.discard(threading.current_thread())
            self._bell.set()

    def _join(self, seconds: float) -> None:
        deadline = self._clock.monotonic() + seconds
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(deadline - self._clock.monotonic(), 0))
