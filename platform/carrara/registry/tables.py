"""Models, their versions, and the releases that can go live."""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from carrara.persistence.tables import Created, ProjectOwned, Row, belongs, owned


class ModelRow(Created, ProjectOwned, Row):
    __tablename__ = "models"
    __table_args__ = owned("models", UniqueConstraint("project_id", "name"))

    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    created_by: Mapped[UUID]


class VersionRow(Created, ProjectOwned, Row):
    __tablename__ = "versions"
    __table_args__ = owned(
        "versions",
        belongs("model_id", "models"),
        belongs("job_id", "jobs"),
        UniqueConstraint("project_id", "model_id", "number"),
        UniqueConstraint("project_id", "job_id"),
        CheckConstraint("state IN ('registered', 'validated', 'evaluated', 'rejected', 'retired')", name="state"),
        CheckConstraint("source IN ('job', 'mlflow')", name="source"),
        CheckConstraint("state <> 'rejected' OR rejection IS NOT NULL", name="rejection"),
        Index("ix_versions_state", "project_id", "state", text("id DESC")),
        Index("ix_versions_model_state", "project_id", "model_id", "state", text("number DESC")),
    )

    model_id: Mapped[UUID]
    number: Mapped[int]
    state: Mapped[str]
    rejection: Mapped[dict[str, Any] | None]
    source: Mapped[str]
    job_id: Mapped[UUID | None]
    mlflow_run_id: Mapped[str | None]
    mlflow_source: Mapped[str | None]
    task: Mapped[str | None]
    artifact_digest: Mapped[str | None]
    artifact_bytes: Mapped[int | None] = mapped_column(BigInteger)
    artifact_files: Mapped[list[Any]]
    flavor: Mapped[str | None]
    serialization: Mapped[str | None]
    inspection: Mapped[dict[str, Any] | None]
    contract: Mapped[dict[str, Any] | None]
    golden_candidates: Mapped[str | None]
    metrics: Mapped[dict[str, Any]]
    lineage: Mapped[dict[str, Any]]
    author_id: Mapped[UUID]


class ReleaseRow(Created, ProjectOwned, Row):
    __tablename__ = "releases"
    __table_args__ = owned(
        "releases",
        belongs("version_id", "versions"),
        UniqueConstraint("project_id", "digest"),
        UniqueConstraint("project_id", "version_id"),
    )

    version_id: Mapped[UUID]
    digest: Mapped[str]
    manifest: Mapped[dict[str, Any]]
