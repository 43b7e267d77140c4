"""One attempt, from the claim to the fenced commit."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from carrara.contracts.jobs import JobError
from carrara.jobs import attempts
from carrara.jobs.attempts import Ending, Handlers
from carrara.jobs.classification import error_of_disk, error_of_exception, error_of_exit, least_pause_of
from carrara.jobs.disk_watch import DiskWatch
from carrara.jobs.keeper import Interruption, LeaseKeeper
from carrara.jobs.limits import MostAllowed
from carrara.jobs.ports import ChildWork, ClaimedJob, JobHandler, Staging
from carrara.jobs.pump import MAX_EVENT_BYTES, run_to_end
from carrara.jobs.reporter import Reporter
from carrara.jobs.shown_paths import attempt_places, without_server_paths
from carrara.jobs.staging import StagingArea
from carrara.kernel.clock import Clock
from carrara.kernel.crashpoint import crashpoint
from carrara.kernel.errors import Unavailable
from carrara.persistence.database import Database
from carrara.sandbox.client import Forkserver
from carrara.sandbox.domain import ChildTask, Level, Limits

_COMMIT_AGAIN_SECONDS = 0.5
_MOST_TRIES = {"57014": 3, "55P03": 3, "40P01": 5, "40001": 5}
"""Of SQLSTATEs that tell of the statement, not of a database that is away: timed out, locked, deadlocked, outrun."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChildRules:
    """What holds every child, unless its work asks for less or more. `level` None: the highest that is to be had."""

    level: Level | None
    timeout_seconds: int
    memory_bytes: int
    processes: int
    platform_address: tuple[str, int] | None
    disk_bytes: int = 20 << 30
    max_timeout_seconds: int = 7 * 86400

    def limits(self, work: ChildWork) -> Limits:
        """What this work gets; `Invalid` if it asks for more than there is."""
        most = MostAllowed(self.memory_bytes, self.max_timeout_seconds)
        most.refuse_more(memory_bytes=work.memory_bytes, timeout_seconds=work.timeout_seconds)
        return Limits(
            wall_seconds=work.timeout_seconds or self.timeout_seconds,
            memory_bytes=work.memory_bytes or self.memory_bytes,
            processes=self.processes,
            file_bytes=self.disk_bytes,
        )


@dataclass
class _Attempt:
    """What is known so far: `published` if all went well, else `error`; neither if it was interrupted."""

    published: Mapping[str, Any] | None = None
    error: JobError | None = None
    least_pause_seconds: float = 0.0
    peak_memory_bytes: int | None = None


class Runner:
    """Runs attempts, each in the thread that calls it. An attempt whose lease is lost ends without a trace."""

    def __init__(
        self,
        database: Database,
        handlers: Handlers,
        forkserver: Forkserver,
        staging: StagingArea,
        *,
        rules: ChildRules,
        clock: Clock,
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._forkserver = forkserver
        self._staging = staging
        self._rules = rules
        self._clock = clock

    def run(self, job: ClaimedJob, keeper: LeaseKeeper) -> None:
        """Takes the claimed job to its end, or to the end of its lease."""
        handler = self._handlers[job.kind]
        attempt = _Attempt()
        try:
            self._try(job, handler, keeper, attempt)
            ending = self._end(job, handler, keeper, attempt)
            reason = f" ({attempt.error.reason}: {attempt.error.message})" if attempt.error else ""
            _log.info("attempt %d of job %s: %s%s", job.attempt, job.id, ending, reason)
            crashpoint("job.committed")
        finally:
            self._staging.remove(job.id, job.attempt)

    def _try(self, job: ClaimedJob, handler: JobHandler, keeper: LeaseKeeper, attempt: _Attempt) -> None:
        try:
            staging = self._staging.open(job)
            work = handler.prepare(job, staging)
            self._staging.open_to_child(staging)
            crashpoint("job.prepared")
            if keeper.interruption is not None:
                return
            result = self._run_child(job, work, staging, keeper, attempt)
            crashpoint("job.child_ended")
            if result is None or keeper.interruption is not None:
                return
            attempt.published = handler.publish(job, staging, result)
            crashpoint("job.published")
        except Exception as error:  # noqa: BLE001  # whatever a step raises is how the attempt ended
            attempt.error = error_of_exception(error)
            attempt.least_pause_seconds = least_pause_of(error)
            _log.warning("attempt %d of job %s: %s", job.attempt, job.id, error, exc_info=error)

    def _run_child(
        self, job: ClaimedJob, work: ChildWork, staging: Staging, keeper: LeaseKeeper, attempt: _Attempt
    ) -> Mapping[str, Any] | None:
        task = self._task(job, work, staging)
        reporter = Reporter(self._database, job, keeper, events=staging.events, clock=self._clock)
        try:
            with self._forkserver.spawn(task, max_frame_bytes=MAX_EVENT_BYTES) as child:
                written = (staging.outputs, staging.scratch, child.scratch)
                with DiskWatch(written, task.limits.file_bytes) as disk:
                    ended = run_to_end(child, keeper, reporter, disk)
            reporter.finish()
        finally:
            reporter.close()
        fold = reporter.fold
        attempt.peak_memory_bytes = ended.peak_memory_bytes or None
        if keeper.interruption is None and disk.complaint is not None:
            attempt.error = error_of_disk(disk.complaint, task.limits.file_bytes)
        elif keeper.interruption is None:
            attempt.error = error_of_exit(ended, task.limits, fold.user_error, has_result=fold.result is not None)
        return fold.result if attempt.error is None else None

    def _task(self, job: ClaimedJob, work: ChildWork, staging: Staging) -> ChildTask:
        rules = self._rules
        address = rules.platform_address if work.may_reach_platform else None
        environment = {"TMPDIR": str(staging.scratch)}
        if address is not None:
            url = "http://127.0.0.1:{relay_port}"
            environment |= {
                "CARRARA_URL": url,
                "CARRARA_TOKEN": job.token,
                "MLFLOW_TRACKING_URI": f"{url}/mlflow/{job.project}",
                "MLFLOW_TRACKING_TOKEN": job.token,
            }
        return ChildTask(
            entry=work.entry,
            argument=work.argument,
            read_paths=(staging.inputs,),
            write_paths=(staging.outputs, staging.scratch),
            limits=rules.limits(work),
            level=rules.level or self._forkserver.capabilities.achieved,
            environment=environment,
            import_paths=work.import_paths,
            platform_address=address,
        )

    def _end(self, job: ClaimedJob, handler: JobHandler, keeper: LeaseKeeper, attempt: _Attempt) -> Ending:
        peak = attempt.peak_memory_bytes
        if attempt.published is not None:
            published = attempt.published
            try:
                return self._commit(
                    keeper,
                    lambda session: attempts.succeed(session, job, handler, published, peak_memory_bytes=peak),
                )
            except Exception as error:  # noqa: BLE001  # the handler's own; nothing of it was committed
                _log.warning("attempt %d of job %s could not be recorded", job.attempt, job.id, exc_info=error)
                attempt.error = error_of_exception(error)
        elif keeper.interruption is Interruption.CANCELLED:
            return self._commit(keeper, lambda session: attempts.cancel(session, job, peak_memory_bytes=peak))
        elif keeper.interruption is Interruption.RELEASED:
            return self._commit(keeper, lambda session: attempts.release(session, job))
        failure = attempt.error or error_of_exception(RuntimeError("the attempt ended without saying how"))
        failure = without_server_paths(failure, attempt_places(self._staging.place(job.id, job.attempt)))
        pause = attempt.least_pause_seconds
        return self._commit(
            keeper,
            lambda session: attempts.fail(
                session, job, handler, failure, peak_memory_bytes=peak, least_pause_seconds=pause
            ),
        )

    def _commit(self, keeper: LeaseKeeper, act: Callable[[Session], Ending]) -> Ending:
        """Does `act` in one transaction; tries again while the database is away, as long as the lease may hold.

        Safe to repeat when only the answer to the commit was lost: the second finds the fence broken. What the
        database refuses again and again for a reason of the statement's own is raised.
        """
        refused: Counter[str] = Counter()
        while keeper.interruption is not Interruption.LOST:
            try:
                with self._database.transaction(keeper.scope) as session:
                    return act(session)
            except Unavailable as error:
                state = _sqlstate(error)
                refused[state] += 1
                if refused[state] >= _MOST_TRIES.get(state, sys.maxsize):
                    raise
                _log.warning("the end of an attempt waits for the database: %s", error)
                time.sleep(_COMMIT_AGAIN_SECONDS)
        return Ending.LOST


def _sqlstate(error: Unavailable) -> str:
    """PostgreSQL's own word for what went wrong; "" if it did not get to say one."""
    return getattr(getattr(error.__cause__, "orig", None), "sqlstate", None) or ""
