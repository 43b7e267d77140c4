"""A real kind of job for tests: its spec says what the child does. It keeps to the port as training does."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from carrara.access.domain import Actor, Project, UserKind
from carrara.access.tables import ProjectRow, UserRow
from carrara.contracts.jobs import JobError, JobKind, JobView
from carrara.jobs import attempts
from carrara.jobs.attempts import Ending
from carrara.jobs.ports import ChildWork, ClaimedJob, Staging
from carrara.jobs.service import JobService
from carrara.kernel.errors import Invalid, Issue, Unavailable
from carrara.kernel.ids import JobId, ProjectId, UserId, uuid7
from carrara.persistence.database import EVERYTHING, Database, Scope

ACTIONS = {
    "allocate": "allocate",
    "answer": "answer",
    "crash": "crash",
    "exit": "exit_",
    "first_waits": "first_waits",
    "fill_disk": "fill_disk",
    "full": "full",
    "hang": "hang",
    "log": "log",
    "metrics": "metrics",
    "nothing": "nothing",
    "raise": "raise_",
    "told": "told",
    "wait_for_file": "wait_for_file",
    "when": "when",
}


@dataclass
class PlayHandler:
    """A job of kind `train` that does what `spec["do"]` names. Results pass through a file, as a model would."""

    kind: JobKind = JobKind.TRAIN
    entry_module: str = "tests.support.job_children"
    import_paths: tuple[Path, ...] = (Path(__file__).resolve().parents[2],)
    failures: list[str] = field(default_factory=list)
    fail_prepare_times: int = 0
    timeout_seconds: int | None = 60
    memory_bytes: int | None = 512 << 20

    def check(self, session: Session, project_id: ProjectId, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        if spec.get("do") not in ACTIONS:
            raise Invalid("spec.do is unknown", issues=[Issue("spec.do", f"{spec.get('do')!r} is not known")])
        return dict(spec)

    def prepare(self, job: ClaimedJob, staging: Staging) -> ChildWork:
        if self.fail_prepare_times > 0:
            self.fail_prepare_times -= 1
            raise Unavailable("the store is away", retry_after_seconds=1)
        (staging.inputs / "question.txt").write_text("what is six times seven?")
        argument = {
            **job.spec,
            "attempt": job.attempt,
            "inputs": str(staging.inputs),
            "outputs": str(staging.outputs),
            "scratch": str(staging.scratch),
        }
        return ChildWork(
            entry=f"{self.entry_module}:{ACTIONS[job.spec['do']]}",
            argument=argument,
            import_paths=self.import_paths,
            timeout_seconds=job.spec.get("timeout_seconds", self.timeout_seconds),
            memory_bytes=self.memory_bytes,
        )

    def publish(self, job: ClaimedJob, staging: Staging, result: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = json.loads((staging.outputs / "answer.json").read_text())
        return {**result, **answer, "metric_events": len(staging.events.read_text().splitlines())}

    def record(self, session: Session, job: ClaimedJob, published: Mapping[str, Any]) -> Mapping[str, Any]:
        add_mark(session, job, "recorded")
        return {**published, "attempt": job.attempt}

    def record_failure(self, session: Session, job: ClaimedJob, error: JobError) -> None:
        add_mark(session, job, f"failed {error.reason}")


def add_mark(session: Session, job: ClaimedJob, what: str) -> None:
    """A row that the handler wrote in the fenced transaction, so that tests can count effects."""
    statement = text(
        "INSERT INTO outbox (id, project_id, kind, payload, attempts)"
        " VALUES (:id, :project, 'test.mark', cast(:payload AS jsonb), 0)"
    )
    payload = json.dumps({"job": str(job.id), "attempt": job.attempt, "what": what})
    session.execute(statement, {"id": uuid7(), "project": job.project_id, "payload": payload})


class CountingDoorbell:
    """Keeps who was rung for."""

    last_error: str | None = None

    def __init__(self) -> None:
        self.rung: list[JobId] = []

    def ring(self, job_id: JobId) -> None:
        self.rung.append(job_id)


@dataclass(frozen=True)
class JobWorld:
    """A project and a person in a database of their own, with a job service over them."""

    database: Database
    service: JobService
    project: Project
    actor: Actor

    @property
    def scope(self) -> Scope:
        return Scope(self.project.id, self.actor.id)

    def submit(self, do: str = "answer", *, max_attempts: int = 2, priority: int = 0, **spec: Any) -> JobId:
        with self.database.transaction(self.scope) as session:
            return self.service.submit(
                session,
                self.project.id,
                self.actor.id,
                JobKind.TRAIN,
                {"do": do, **spec},
                max_attempts=max_attempts,
                priority=priority,
            )

    def get(self, job_id: UUID) -> JobView:
        with self.database.transaction(self.scope) as session:
            return self.service.get(session, self.project.id, job_id)

    def cancel(self, job_id: UUID) -> JobView:
        with self.database.transaction(self.scope) as session:
            return self.service.cancel(session, self.project.id, self.actor, job_id)

    def claim(self, *, worker: str = "w1", lease_seconds: float = 30.0) -> ClaimedJob | None:
        """What a worker does when it looks into the table."""
        with self.database.transaction(EVERYTHING) as session:
            return attempts.claim(session, self.service.handlers, worker=worker, lease_seconds=lease_seconds)

    def must_claim(self) -> ClaimedJob:
        job = self.claim()
        assert job is not None
        return job

    def expire(self, job: ClaimedJob) -> None:
        """As if the worker of this attempt had gone away long ago."""
        self.sql("UPDATE jobs SET ready_at = now() - interval '1 second' WHERE id = :id RETURNING 1", id=job.id)

    def end(self, job: ClaimedJob, error: JobError | None = None) -> Ending:
        """The end of an attempt: well, or with this error."""
        handler = self.service.handlers[JobKind.TRAIN]
        with self.database.transaction(self.scope) as session:
            if error is None:
                return attempts.succeed(session, job, handler, {"rows": 1}, peak_memory_bytes=1)
            return attempts.fail(session, job, handler, error)

    def log(self, job_id: UUID) -> str:
        pieces: list[str] = []
        after: str | None = None
        with self.database.transaction(self.scope) as session:
            while True:
                log = self.service.logs(session, self.project.id, job_id, after)
                if not log.items:
                    return "".join(pieces)
                pieces += [chunk.text for chunk in log.items]
                after = log.next

    def marks(self, job_id: UUID) -> list[tuple[int, str]]:
        """(attempt, what) of every effect that the handler committed for this job."""
        query = "SELECT payload FROM outbox WHERE kind = 'test.mark' AND payload->>'job' = :job ORDER BY id"
        return [(row["attempt"], row["what"]) for (row,) in self.sql(query, job=str(job_id))]

    def actions(self, job_id: UUID) -> list[str]:
        """The audit records of this job, in order."""
        query = "SELECT action FROM audit_records WHERE subject_id = :job ORDER BY sequence"
        return [row[0] for row in self.sql(query, job=str(job_id))]

    def outcomes(self, job_id: UUID) -> list[str | None]:
        query = "SELECT outcome FROM job_attempts WHERE job_id = cast(:job AS uuid) ORDER BY attempt"
        return [row[0] for row in self.sql(query, job=str(job_id))]

    def sql(self, query: str, **values: Any) -> list[Any]:
        with self.database.transaction(self.scope) as session:
            return list(session.execute(text(query), values))


def make_world(database: Database, service: JobService, name: str = "quarry") -> JobWorld:
    """A project of tier 3 and its one person."""
    project = Project(ProjectId(uuid7()), name, 3)
    actor = Actor(UserId(uuid7()), f"ada-{name}", UserKind.PERSON)
    with database.transaction(Scope(project.id)) as session:
        session.add(ProjectRow(id=project.id, name=name, tier=project.tier, settings={}))
        session.add(UserRow(id=actor.id, name=actor.name, kind=actor.kind.value))
    return JobWorld(database, service, project, actor)
