"""Jobs with their leases, attempts, logs and tokens. `ready_at` is when a queued job may start or a lease ends."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from carrara.persistence.tables import Created, ProjectOwned, Row, belongs, owned


class CodeBundleRow(Created, ProjectOwned, Row):
    __tablename__ = "code_bundles"
    __table_args__ = owned("code_bundles", UniqueConstraint("project_id", "digest"))

    digest: Mapped[str]
    byte_count: Mapped[int] = mapped_column(BigInteger)
    files: Mapped[list[Any]]
    git_commit: Mapped[str | None]
    git_is_dirty: Mapped[bool | None]
    created_by: Mapped[UUID]


class JobRow(Created, ProjectOwned, Row):
    __tablename__ = "jobs"
    __table_args__ = owned(
        "jobs",
        CheckConstraint("state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="state"),
        Index(
            "ix_jobs_claim",
            text("priority DESC"),
            "ready_at",
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
        Index("ix_jobs_project_id_created", "project_id", text("id DESC")),
    )

    kind: Mapped[str]
    schema_version: Mapped[int] = mapped_column(default=1)
    spec: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(default="queued")
    priority: Mapped[int] = mapped_column(default=0)
    attempt: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int] = mapped_column(default=2)
    ready_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    lease_owner: Mapped[str | None]
    progress: Mapped[dict[str, Any]]
    cancel_requested_at: Mapped[datetime | None]
    result: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    submitted_by: Mapped[UUID]
    parent_job_id: Mapped[UUID | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class AttemptRow(ProjectOwned, Row):
    __tablename__ = "job_attempts"
    __table_args__ = owned(
        "job_attempts",
        belongs("job_id", "jobs"),
        UniqueConstraint("project_id", "job_id", "attempt"),
        Index("ix_job_attempts_open", "job_id", postgresql_where=text("finished_at IS NULL")),
    )

    job_id: Mapped[UUID]
    attempt: Mapped[int]
    worker: Mapped[str]
    token_hash: Mapped[str] = mapped_column(unique=True)
    started_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    finished_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    error: Mapped[dict[str, Any] | None]
    peak_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)


class JobLogRow(Created, ProjectOwned, Row):
    __tablename__ = "job_logs"
    __table_args__ = owned(
        "job_logs", belongs("job_id", "jobs"), UniqueConstraint("project_id", "job_id", "attempt", "chunk")
    )

    job_id: Mapped[UUID]
    attempt: Mapped[int]
    chunk: Mapped[int]
    text: Mapped[str]
