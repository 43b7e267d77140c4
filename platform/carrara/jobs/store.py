"""Jobs as people see them: inserted, read, listed, with their logs. What workers do is in `leases`."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, String, cast, func, select, text
from sqlalchemy.orm import Session

from carrara.access.tables import ProjectRow, UserRow
from carrara.contracts.jobs import FollowUpError, JobError, JobProgress, JobState, JobView, LogChunk
from carrara.contracts.wire import Page
from carrara.jobs.tables import JobLogRow, JobRow
from carrara.kernel.ids import JobId, ProjectId, UserId
from carrara.persistence.outbox import OutboxRow

NOTIFY_CHANNEL = "carrara_jobs"
_NOTIFY = text("SELECT pg_notify(:channel, :payload)")


def insert(session: Session, project_id: ProjectId, submitted_by: UserId, **columns: Any) -> JobId:
    """A new row of table `jobs`, queued and ready at once by the database's clock."""
    row = JobRow(project_id=project_id, submitted_by=submitted_by, progress={}, **columns)
    session.add(row)
    session.flush()
    return JobId(row.id)


def notify(session: Session, job_id: JobId) -> None:
    """Wakes every listening worker when this transaction commits."""
    session.execute(_NOTIFY, {"channel": NOTIFY_CHANNEL, "payload": str(job_id)})


def lock(session: Session, project_id: ProjectId, job_id: UUID) -> JobRow | None:
    """The row, held until the transaction ends; None if it is not in this project."""
    query = select(JobRow).where(JobRow.project_id == project_id, JobRow.id == job_id)
    return session.scalars(query.with_for_update().execution_options(populate_existing=True)).one_or_none()


def view(session: Session, project_id: ProjectId, job_id: UUID) -> JobView | None:
    """One job, or None if it is not in this project."""
    row = session.execute(_views().where(JobRow.project_id == project_id, JobRow.id == job_id)).one_or_none()
    return _view(row) if row else None


def page(
    session: Session, project_id: ProjectId, filters: Mapping[str, str], *, limit: int, after: UUID | None
) -> Page[JobView]:
    """Jobs of a project, newest first. `filters`: columns of `jobs` (`state`, `kind`) and what they must be."""
    query = _views().where(JobRow.project_id == project_id).order_by(JobRow.id.desc()).limit(limit + 1)
    for column, value in filters.items():
        query = query.where(getattr(JobRow, column) == value)
    if after is not None:
        query = query.where(JobRow.id < after)
    found = [_view(row) for row in session.execute(query)]
    items = found[:limit]
    return Page(items=items, next=str(items[-1].id) if len(found) > limit else None)


def log_chunks(session: Session, job_id: UUID, after: tuple[int, int], limit: int) -> list[LogChunk]:
    """What was logged behind (attempt, chunk), in order."""
    attempt, chunk = after
    query = (
        select(JobLogRow)
        .where(JobLogRow.job_id == job_id)
        .where((JobLogRow.attempt > attempt) | ((JobLogRow.attempt == attempt) & (JobLogRow.chunk > chunk)))
        .order_by(JobLogRow.attempt, JobLogRow.chunk)
        .limit(limit)
    )
    return [
        LogChunk(attempt=row.attempt, chunk=row.chunk, text=row.text, created_at=row.created_at)
        for row in session.scalars(query)
    ]


def user_name(session: Session, user_id: UserId) -> str:
    """The name behind an id, for audit records; the id itself when the user is unknown."""
    return session.scalar(select(UserRow.name).where(UserRow.id == user_id)) or str(user_id)


def _views() -> Select[JobRow, str, str, Any]:
    failed_follow_up = (
        select(func.jsonb_build_object("message", OutboxRow.error, "given_up", OutboxRow.failed_at.is_not(None)))
        .where(OutboxRow.payload["job_id"].astext == cast(JobRow.id, String))
        .where(OutboxRow.project_id == JobRow.project_id, OutboxRow.done_at.is_(None), OutboxRow.error.is_not(None))
        .limit(1)
        .scalar_subquery()
    )
    return (
        select(JobRow, ProjectRow.name, UserRow.name, failed_follow_up)
        .join(ProjectRow, ProjectRow.id == JobRow.project_id)
        .outerjoin(UserRow, UserRow.id == JobRow.submitted_by)
        .execution_options(populate_existing=True)
    )


def _view(found: Row[JobRow, str, str, Any]) -> JobView:
    row, project, user, follow_up = found
    return JobView(
        id=row.id,
        project=project,
        kind=row.kind,
        state=JobState(row.state),
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        spec=row.spec,
        progress=JobProgress.model_validate(row.progress),
        result=row.result,
        error=JobError.model_validate(row.error) if row.error else None,
        follow_up_error=FollowUpError.model_validate(follow_up) if follow_up else None,
        cancel_requested=row.cancel_requested_at is not None,
        submitted_by=user or str(row.submitted_by),
        parent_job_id=row.parent_job_id,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
