"""What a worker may do to a job, each inside the caller's transaction: claim it, end its attempt, give it back.

An ending holds the row first. Whoever finds the fence broken writes nothing at all and gets `Ending.LOST`.
"""

import hashlib
import logging
import secrets
from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from carrara.audit import service as audit
from carrara.contracts.jobs import ErrorClass, JobError, JobKind, JobState
from carrara.jobs import leases
from carrara.jobs.domain import JOB_STATES, AttemptOutcome, Finding, judge_ready, pause_seconds
from carrara.jobs.leases import ReadyJob
from carrara.jobs.ports import ClaimedJob, JobHandler
from carrara.persistence.database import EVERYTHING, Database, Scope, enter_scope, savepoint

WORKER_ACTOR = (None, "worker")
_TOKEN_BYTES = 32
_log = logging.getLogger(__name__)

Handlers = Mapping[JobKind, JobHandler]


class Ending(StrEnum):
    """What became of the job when its attempt ended. LOST: another attempt has it, and nothing was written."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REQUEUED = "requeued"
    LOST = "lost"


def claim(session: Session, handlers: Handlers, *, worker: str, lease_seconds: float) -> ClaimedJob | None:
    """The next job of a kind that we can do, running under a new attempt; None when nothing is ready.

    Settles the jobs on its way whose workers are gone and whose attempts are used up. Needs the controller's role.
    """
    while ready := leases.next_ready(session, handlers.keys()):
        if judge_ready(ready.budget) is not Finding.START:
            _settle(session, ready, handlers)
            continue
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        job = ready.claimed(ready.budget.attempt + 1, token)
        _note_lost_attempt(session, ready)
        leases.start(session, job, worker=worker, lease_seconds=lease_seconds, token_hash=hash_token(token))
        _audit(session, job, "job.started", attempt=job.attempt, worker=worker)
        return job
    return None


def end_dead_leases(database: Database, handlers: Handlers, *, dead_seconds: float) -> int:
    """Takes every job from a worker that is gone, whatever its kind, each in a transaction of its own; how many.

    For the controller, so that no job waits for a free worker to be told of its end.
    """
    ended = 0
    while True:
        with database.transaction(EVERYTHING) as session:
            if not expire_one(session, handlers, dead_seconds=dead_seconds):
                return ended
        ended += 1


def expire_one(session: Session, handlers: Handlers, *, dead_seconds: float = 0.0) -> bool:
    """Takes one job whose lease ran out `dead_seconds` ago: back to the queue, or to its end. False: there is none.

    A claim does the same on its way. Needs the controller's role. Kinds without a handler here are those for which
    a final failure means nothing more.
    """
    ready = leases.next_expired(session, dead_seconds)
    if ready is None:
        return False
    if judge_ready(ready.budget) is not Finding.START:
        _settle(session, ready, handlers)
    else:
        JOB_STATES.check(ready.budget.state, JobState.QUEUED)
        _note_lost_attempt(session, ready)
        leases.requeue(session, ready.id, pause_seconds=0)
    return True


def succeed(
    session: Session,
    job: ClaimedJob,
    handler: JobHandler,
    published: Mapping[str, Any],
    *,
    peak_memory_bytes: int | None,
) -> Ending:
    """The fenced commit: what the handler records, the result and the state, or none of it.

    A cancel that was answered before this wins.
    """
    budget = leases.hold(session, job)
    if budget is None:
        return Ending.LOST
    if budget.is_cancel_requested:
        return _cancel(session, job, peak_memory_bytes)
    result = dict(handler.record(session, job, published))
    JOB_STATES.check(budget.state, JobState.SUCCEEDED)
    leases.finish(session, job.id, JobState.SUCCEEDED, result=result, error=None)
    leases.close_attempt(session, job, AttemptOutcome.SUCCEEDED, peak_memory_bytes=peak_memory_bytes)
    _audit(session, job, "job.succeeded", attempt=job.attempt)
    return Ending.SUCCEEDED


def fail(
    session: Session,
    job: ClaimedJob,
    handler: JobHandler,
    error: JobError,
    *,
    peak_memory_bytes: int | None = None,
    least_pause_seconds: float = 0.0,
) -> Ending:
    """Ends the attempt: a system error goes back to the queue while attempts remain, any other is final."""
    budget = leases.hold(session, job)
    if budget is None:
        return Ending.LOST
    if budget.is_cancel_requested:
        return _cancel(session, job, peak_memory_bytes)
    leases.close_attempt(session, job, AttemptOutcome.FAILED, error=error, peak_memory_bytes=peak_memory_bytes)
    if error.error_class is ErrorClass.SYSTEM and not budget.is_used_up:
        JOB_STATES.check(budget.state, JobState.QUEUED)
        pause = max(pause_seconds(job.attempt), least_pause_seconds)
        leases.requeue(session, job.id, pause_seconds=pause)
        _audit(session, job, "job.requeued", attempt=job.attempt, reason=error.reason)
        return Ending.REQUEUED
    _fail_for_good(session, job, handler, error)
    return Ending.FAILED


def cancel(session: Session, job: ClaimedJob, *, peak_memory_bytes: int | None = None) -> Ending:
    """Ends the attempt as the user asked."""
    if leases.hold(session, job) is None:
        return Ending.LOST
    return _cancel(session, job, peak_memory_bytes)


def release(session: Session, job: ClaimedJob) -> Ending:
    """Gives the job back because this worker stops; a planned stop costs the job none of its attempts."""
    budget = leases.hold(session, job)
    if budget is None:
        return Ending.LOST
    if budget.is_cancel_requested:
        return _cancel(session, job, None)
    JOB_STATES.check(budget.state, JobState.QUEUED)
    leases.close_attempt(session, job, AttemptOutcome.RELEASED)
    leases.requeue(session, job.id, pause_seconds=0, more_attempts=1)
    _audit(session, job, "job.released", attempt=job.attempt)
    return Ending.REQUEUED


def hash_token(token: str) -> str:
    """What is stored of a job token: SHA-256 in hex; 256 random bits need no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()


def _settle(session: Session, ready: ReadyJob, handlers: Handlers) -> None:
    job = ready.claimed(ready.budget.attempt, token="")
    if judge_ready(ready.budget) is Finding.CANCEL:
        _note_lost_attempt(session, ready)
        _cancel(session, job, None)
        return
    error = leases.lost_error(job.attempt)
    leases.close_attempt(session, job, AttemptOutcome.LOST, error=error)
    enter_scope(session, Scope(job.project_id, job.submitted_by))
    _fail_for_good(session, job, handlers.get(job.kind), error)
    enter_scope(session, EVERYTHING)


def _note_lost_attempt(session: Session, ready: ReadyJob) -> None:
    if ready.budget.state is JobState.RUNNING:
        lost = ready.claimed(ready.budget.attempt, token="")
        leases.close_attempt(session, lost, AttemptOutcome.LOST, error=leases.lost_error(lost.attempt))
        _audit(session, lost, "job.attempt_lost", attempt=lost.attempt)


def _cancel(session: Session, job: ClaimedJob, peak_memory_bytes: int | None) -> Ending:
    leases.finish(session, job.id, JobState.CANCELLED, error=None)
    leases.close_attempt(session, job, AttemptOutcome.CANCELLED, peak_memory_bytes=peak_memory_bytes)
    _audit(session, job, "job.cancelled", attempt=job.attempt)
    return Ending.CANCELLED


def _fail_for_good(session: Session, job: ClaimedJob, handler: JobHandler | None, error: JobError) -> None:
    JOB_STATES.check(JobState.RUNNING, JobState.FAILED)
    leases.finish(session, job.id, JobState.FAILED, error=error)
    try:
        with savepoint(session):
            if handler is not None:
                handler.record_failure(session, job, error)
    except Exception:  # noqa: BLE001  # a handler's bug must not leave the job at the head of the queue for ever
        _log.exception("job %s failed, and what that means for its %s could not be recorded", job.id, job.kind)
    _audit(session, job, "job.failed", attempt=job.attempt, error_class=error.error_class.value, reason=error.reason)


def _audit(session: Session, job: ClaimedJob, action: str, **details: Any) -> None:
    subject: tuple[str, UUID | str] = ("job", job.id)
    audit.record(session, action, actor=WORKER_ACTOR, subject=subject, project_id=job.project_id, **details)
