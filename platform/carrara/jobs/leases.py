"""The SQL of claiming and holding a job. Every write of a worker names (id, attempt) and needs state 'running'.

A lease is `ready_at` on the database's clock: one range of one index finds the queued and the expired alike.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from carrara.contracts.jobs import ErrorClass, JobError, JobKind, JobProgress, JobState
from carrara.jobs.domain import SPEC_SCHEMA_VERSION, AttemptOutcome, Budget
from carrara.jobs.jsonable import shown_json
from carrara.jobs.ports import ClaimedJob
from carrara.jobs.tables import AttemptRow
from carrara.kernel.ids import JobId, ProjectId, UserId

_READY = """
    SELECT j.id, j.project_id, p.name AS project, j.kind, j.spec, j.state, j.attempt, j.max_attempts, j.submitted_by,
           j.cancel_requested_at IS NOT NULL AS is_cancel_requested
    FROM jobs j JOIN projects p ON p.id = j.project_id
    WHERE j.state IN ('queued', 'running') AND j.schema_version <= :schema_version AND {which}
    ORDER BY j.priority DESC, j.ready_at LIMIT 1
    FOR UPDATE OF j SKIP LOCKED
"""
_NEXT_READY = text(_READY.format(which="j.ready_at <= now() AND j.kind = ANY(:kinds)"))
_NEXT_EXPIRED = text(
    _READY.format(which="j.ready_at <= now() - :dead_seconds * interval '1 second' AND j.state = 'running'")
)
_START = text(
    "UPDATE jobs SET state = 'running', attempt = attempt + 1, lease_owner = :worker,"
    " ready_at = now() + :lease_seconds * interval '1 second', started_at = coalesce(started_at, now()),"
    " progress = '{}' WHERE id = :id"
)
_FENCE = " WHERE project_id = :project_id AND id = :id AND attempt = :attempt AND state = 'running'"


def _fenced(statement: str, rest: str = "") -> TextClause:
    return text(statement + _FENCE + rest)


_RENEW = _fenced(
    "UPDATE jobs SET ready_at = now() + :lease_seconds * interval '1 second'",
    " RETURNING cancel_requested_at IS NOT NULL",
)
_HOLD = _fenced("SELECT state, attempt, max_attempts, cancel_requested_at IS NOT NULL FROM jobs", " FOR UPDATE")
_PROGRESS = _fenced("UPDATE jobs SET progress = :progress").bindparams(bindparam("progress", type_=JSONB))
_APPEND_LOG = _fenced(
    "INSERT INTO job_logs (id, project_id, job_id, attempt, chunk, text)"
    " SELECT :log_id, project_id, id, attempt, :chunk, :text FROM jobs",
    " ON CONFLICT (project_id, job_id, attempt, chunk) DO UPDATE SET text = excluded.text",
)
_FINISH = text(
    "UPDATE jobs SET state = :state, result = :result, error = :error, lease_owner = NULL, finished_at = now()"
    " WHERE id = :id"
).bindparams(bindparam("result", type_=JSONB(none_as_null=True)), bindparam("error", type_=JSONB(none_as_null=True)))
_REQUEUE = text(
    "UPDATE jobs SET state = 'queued', lease_owner = NULL, max_attempts = max_attempts + :more_attempts,"
    " ready_at = now() + :pause_seconds * interval '1 second' WHERE id = :id"
)
_CLOSE_ATTEMPT = text(
    "UPDATE job_attempts SET finished_at = now(), outcome = :outcome, error = :error, peak_memory_bytes = :peak"
    " WHERE project_id = :project_id AND job_id = :id AND attempt = :attempt AND finished_at IS NULL"
).bindparams(bindparam("error", type_=JSONB(none_as_null=True)))
_CLOSE_LEFT_OPEN = text(
    "UPDATE job_attempts a SET finished_at = now(), outcome = 'lost' FROM jobs j"
    " WHERE j.project_id = a.project_id AND j.id = a.job_id AND a.finished_at IS NULL"
    " AND (j.state <> 'running' OR j.attempt <> a.attempt)"
)
_RUNNING = text("SELECT id, attempt FROM jobs WHERE state = 'running' AND id = ANY(:ids)")
_BY_TOKEN = text(
    "SELECT j.id, j.project_id, a.attempt, j.submitted_by FROM job_attempts a"
    " JOIN jobs j ON j.project_id = a.project_id AND j.id = a.job_id"
    " WHERE a.token_hash = :token_hash AND a.finished_at IS NULL"
    " AND j.state = 'running' AND j.attempt = a.attempt AND j.ready_at > now()"
)


@dataclass(frozen=True)
class ReadyJob:
    """A job whose `ready_at` has come, locked by this transaction."""

    id: JobId
    project_id: ProjectId
    project: str
    kind: JobKind
    spec: dict[str, Any]
    submitted_by: UserId
    budget: Budget

    def claimed(self, attempt: int, token: str) -> ClaimedJob:
        """This job as the worker that holds `attempt` sees it."""
        return ClaimedJob(
            id=self.id,
            project_id=self.project_id,
            project=self.project,
            kind=self.kind,
            spec=self.spec,
            attempt=attempt,
            max_attempts=self.budget.max_attempts,
            submitted_by=self.submitted_by,
            token=token,
        )


@dataclass(frozen=True)
class JobPrincipal:
    """Whom a job token stands for: one attempt that still holds its lease."""

    job_id: JobId
    project_id: ProjectId
    attempt: int
    submitted_by: UserId


def next_ready(session: Session, kinds: Collection[JobKind]) -> ReadyJob | None:
    """The job to look at first, among those that no other worker is looking at. Needs the controller's role."""
    return _ready(session, _NEXT_READY, {"kinds": [kind.value for kind in kinds]})


def next_expired(session: Session, dead_seconds: float) -> ReadyJob | None:
    """A running job of any kind whose lease ran out so long ago, locked. Needs the controller's role."""
    return _ready(session, _NEXT_EXPIRED, {"dead_seconds": dead_seconds})


def _ready(session: Session, query: TextClause, values: dict[str, Any]) -> ReadyJob | None:
    row = session.execute(query, {**values, "schema_version": SPEC_SCHEMA_VERSION}).one_or_none()
    if row is None:
        return None
    budget = Budget(JobState(row.state), row.attempt, row.max_attempts, row.is_cancel_requested)
    return ReadyJob(row.id, row.project_id, row.project, JobKind(row.kind), row.spec, row.submitted_by, budget)


def start(session: Session, job: ClaimedJob, *, worker: str, lease_seconds: float, token_hash: str) -> None:
    """Makes the locked job running under `job.attempt`, and opens that attempt."""
    session.execute(_START, {"id": job.id, "worker": worker, "lease_seconds": lease_seconds})
    session.add(
        AttemptRow(project_id=job.project_id, job_id=job.id, attempt=job.attempt, worker=worker, token_hash=token_hash)
    )
    session.flush()


def renew(session: Session, job: ClaimedJob, lease_seconds: float) -> bool | None:
    """None if the lease is lost; else whether a cancel was asked for."""
    row = session.execute(_RENEW, {**_fence(job), "lease_seconds": lease_seconds}).one_or_none()
    return None if row is None else bool(row[0])


def hold(session: Session, job: ClaimedJob) -> Budget | None:
    """Locks the row until the transaction ends; None if the lease is lost: then nothing may be written."""
    row = session.execute(_HOLD, _fence(job)).one_or_none()
    return None if row is None else Budget(JobState(row[0]), row[1], row[2], row[3])


def set_progress(session: Session, job: ClaimedJob, progress: JobProgress) -> bool:
    """False if the lease is lost."""
    values = {**_fence(job), "progress": progress.model_dump(mode="json")}
    return _touched(session, _PROGRESS, values)


def append_log(session: Session, job: ClaimedJob, log_id: UUID, chunk: int, piece: str) -> bool:
    """False if the lease is lost. The same chunk again replaces the first: a commit may have been lost on its way."""
    return _touched(session, _APPEND_LOG, {**_fence(job), "log_id": log_id, "chunk": chunk, "text": piece})


def finish(
    session: Session, job_id: JobId, state: JobState, *, result: dict[str, Any] | None = None, error: JobError | None
) -> None:
    """Ends the job that this transaction holds."""
    session.execute(_FINISH, {"id": job_id, "state": state.value, "result": result, "error": _json(error)})


def requeue(session: Session, job_id: JobId, *, pause_seconds: float, more_attempts: int = 0) -> None:
    """Puts the job that this transaction holds back into the queue."""
    values = {"id": job_id, "pause_seconds": pause_seconds, "more_attempts": more_attempts}
    session.execute(_REQUEUE, values)


def close_attempt(
    session: Session,
    job: ClaimedJob,
    outcome: AttemptOutcome,
    *,
    error: JobError | None = None,
    peak_memory_bytes: int | None = None,
) -> None:
    """Writes how an attempt ended; one that is closed stays as it is."""
    values = {**_fence(job), "outcome": outcome.value, "error": _json(error), "peak": peak_memory_bytes}
    session.execute(_CLOSE_ATTEMPT, values)


def close_left_open(session: Session) -> int:
    """Closes, as lost, attempts that no running job stands behind; how many there were."""
    return session.execute(_CLOSE_LEFT_OPEN).rowcount  # type: ignore[attr-defined,no-any-return]  # CursorResult of an UPDATE


def running(session: Session, job_ids: Sequence[UUID]) -> set[tuple[UUID, int]]:
    """Which of these jobs run, and in which attempt."""
    return {(row[0], row[1]) for row in session.execute(_RUNNING, {"ids": list(job_ids)})}


def principal(session: Session, token_hash: str) -> JobPrincipal | None:
    """The attempt behind a token, while its lease lasts. Needs the controller's role: the project is not known yet."""
    row = session.execute(_BY_TOKEN, {"token_hash": token_hash}).one_or_none()
    return None if row is None else JobPrincipal(row[0], row[1], row[2], row[3])


def lost_error(attempt: int) -> JobError:
    """What a job fails with when no worker is left to tell."""
    return JobError(
        error_class=ErrorClass.SYSTEM,
        reason="worker_lost",
        message=f"the worker of attempt {attempt} went away and no attempt is left; submit it again with `retry`",
    )


def _fence(job: ClaimedJob) -> dict[str, Any]:
    return {"project_id": job.project_id, "id": job.id, "attempt": job.attempt}


def _touched(session: Session, statement: Any, values: dict[str, Any]) -> bool:
    return bool(session.execute(statement, values).rowcount)  # type: ignore[attr-defined]  # CursorResult of a write


def _json(error: JobError | None) -> dict[str, Any] | None:
    return dict(shown_json(error.model_dump())) if error else None
