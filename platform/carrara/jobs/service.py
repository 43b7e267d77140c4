"""Jobs, for people: submit, cancel, retry, look, follow the log."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.orm import Session

from carrara.access.domain import Actor
from carrara.audit import service as audit
from carrara.contracts.jobs import JobKind, JobLog, JobState, JobView, SubmitJob
from carrara.contracts.wire import Page
from carrara.jobs import store
from carrara.jobs.domain import JOB_STATES
from carrara.jobs.ports import Doorbell, JobHandler, PreparesSpec
from carrara.jobs.tables import JobRow
from carrara.kernel.errors import Conflict, Invalid, Issue, NotFound
from carrara.kernel.ids import JobId, ProjectId, UserId
from carrara.persistence.database import after_commit

MAX_ATTEMPTS = 10
_CHUNKS_AT_ONCE = 100


@dataclass(frozen=True)
class JobService:
    """`handlers` may still be filled after this is made, since handlers queue follow-up jobs through `submit`."""

    handlers: Mapping[JobKind, JobHandler]
    doorbell: Doorbell

    def preparation(
        self, project_id: ProjectId, user_id: UserId, kind: JobKind, spec: Mapping[str, Any]
    ) -> Callable[[], object] | None:
        """Long work to do before `submit`, outside any transaction; None if there is none. Raises as `submit` does."""
        handler = self.handlers.get(kind)
        return handler.preparation(project_id, user_id, spec) if isinstance(handler, PreparesSpec) else None

    def submit(
        self,
        session: Session,
        project_id: ProjectId,
        user_id: UserId,
        kind: JobKind,
        spec: Mapping[str, Any],
        *,
        priority: int = 0,
        max_attempts: int = 2,
        parent: JobId | None = None,
    ) -> JobId:
        """Queues work; workers are told after the commit. `Invalid` or `NotFound` names each fault of the spec."""
        handler = self.handlers.get(kind)
        if handler is None:
            known = ", ".join(sorted(self.handlers)) or "none"
            raise Invalid(
                f"no job kind {kind!r} here; there is {known}",
                code="unknown_kind",
                issues=[Issue("kind", f"{kind!r} is not one of {known}", "unknown_kind")],
            )
        job_id = store.insert(
            session,
            project_id,
            user_id,
            kind=kind.value,
            spec=dict(handler.check(session, project_id, spec)),
            state=JobState.QUEUED.value,
            priority=priority,
            max_attempts=max_attempts,
            parent_job_id=parent,
        )
        audit.record(
            session,
            "job.submitted",
            actor=(user_id, store.user_name(session, user_id)),
            subject=("job", job_id),
            project_id=project_id,
            kind=kind.value,
            parent=str(parent) if parent else None,
        )
        store.notify(session, job_id)
        after_commit(session, lambda: self.doorbell.ring(job_id))
        return job_id

    def request(self, session: Session, project_id: ProjectId, actor: Actor, wanted: SubmitJob) -> JobView:
        """`submit` for a person, who then wants to see it."""
        job_id = self.submit(
            session,
            project_id,
            actor.id,
            wanted.kind,
            wanted.spec,
            priority=wanted.priority,
            max_attempts=wanted.max_attempts,
        )
        return self.get(session, project_id, job_id)

    def cancel(self, session: Session, project_id: ProjectId, actor: Actor, job_id: UUID) -> JobView:
        """A queued job is cancelled at once, a running one as soon as its worker has ended it; asked twice, the same.

        `Conflict` if it was over before anybody asked. Once this is committed, the job cannot succeed any more.
        """
        row = self._locked(session, project_id, job_id)
        state = JobState(row.state)
        if row.cancel_requested_at is None:
            JOB_STATES.check(state, JobState.CANCELLED)
            row.cancel_requested_at = func.now()
            if state is JobState.QUEUED:
                row.state = JobState.CANCELLED.value
                row.finished_at = func.now()
            session.flush()
            audit.record(
                session,
                "job.cancelled" if state is JobState.QUEUED else "job.cancel_requested",
                actor=(actor.id, actor.name),
                subject=("job", job_id),
                project_id=project_id,
            )
            store.notify(session, JobId(job_id))
        return self.get(session, project_id, job_id)

    def retry(self, session: Session, project_id: ProjectId, actor: Actor, job_id: UUID) -> JobView:
        """A new job with the same spec, checked again, and this one as its parent: what is final stays as it is."""
        row = self._locked(session, project_id, job_id)
        if row.state not in (JobState.FAILED, JobState.CANCELLED):
            raise Conflict(
                f"job {job_id} is {row.state}; only a failed or cancelled one can be retried",
                code="not_retriable",
                state=row.state,
            )
        new_id = self.submit(
            session,
            project_id,
            actor.id,
            JobKind(row.kind),
            row.spec,
            priority=row.priority,
            max_attempts=min(row.max_attempts, MAX_ATTEMPTS),  # planned stops may have raised it
            parent=JobId(job_id),
        )
        return self.get(session, project_id, new_id)

    def get(self, session: Session, project_id: ProjectId, job_id: UUID) -> JobView:
        """The job as it stands."""
        found = store.view(session, project_id, job_id)
        if found is None:
            raise NotFound("job", id=str(job_id))
        return found

    def list(
        self,
        session: Session,
        project_id: ProjectId,
        *,
        state: JobState | None = None,
        kind: JobKind | None = None,
        limit: int = 100,
        after: UUID | None = None,
    ) -> Page[JobView]:
        """Newest first; `after` is the last id of the page before."""
        filters = {name: value.value for name, value in (("state", state), ("kind", kind)) if value is not None}
        return store.page(session, project_id, filters, limit=limit, after=after)

    def logs(self, session: Session, project_id: ProjectId, job_id: UUID, after: str | None = None) -> JobLog:
        """What was printed behind `after` (`<attempt>.<chunk>`, as `next` gave it); None is from the beginning."""
        place = parse_place(after)
        job = self.get(session, project_id, job_id)  # first: a chunk written after it comes with the next call
        items = store.log_chunks(session, job_id, place, _CHUNKS_AT_ONCE)
        if items:
            place = (items[-1].attempt, items[-1].chunk)
        is_all = JOB_STATES.is_terminal(job.state) and len(items) < _CHUNKS_AT_ONCE
        return JobLog(items=items, next=f"{place[0]}.{place[1]}", state=job.state, is_complete=is_all)

    def _locked(self, session: Session, project_id: ProjectId, job_id: UUID) -> JobRow:
        row = store.lock(session, project_id, job_id)
        if row is None:
            raise NotFound("job", id=str(job_id))
        return row


def parse_place(after: str | None) -> tuple[int, int]:
    """(attempt, chunk) of a place in a log; `Invalid` if the text is no such place."""
    if after is None:
        return (0, -1)
    attempt, separator, chunk = after.partition(".")
    try:
        if separator and len(after) <= 20:
            return (int(attempt), int(chunk))
    except ValueError:
        pass
    issue = Issue("after", f"{after[:40]!r} is no place in a log", "bad_place")
    raise Invalid("after: expected <attempt>.<chunk>, as `next` gave it", code="bad_place", issues=[issue])
