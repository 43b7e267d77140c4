"""Evaluations (evidence) and gate policies (rules). Both are immutable: a change is a new row."""

from typing import Any
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped

from carrara.persistence.tables import Created, ProjectOwned, Row, belongs, owned


class EvaluationRow(Created, ProjectOwned, Row):
    __tablename__ = "evaluations"
    __table_args__ = owned(
        "evaluations",
        belongs("version_id", "versions"),
        belongs("split_id", "splits"),
        belongs("job_id", "jobs"),
        belongs("baseline_release_id", "releases"),
        UniqueConstraint("project_id", "job_id"),
        Index("ix_evaluations_version", "project_id", "version_id", text("id DESC")),
    )

    version_id: Mapped[UUID]
    split_id: Mapped[UUID]
    job_id: Mapped[UUID]
    baseline_release_id: Mapped[UUID | None]
    digest: Mapped[str]
    report: Mapped[dict[str, Any]]
    predictions: Mapped[dict[str, Any] | None]


class PolicyRow(Created, ProjectOwned, Row):
    __tablename__ = "gate_policies"
    __table_args__ = owned("gate_policies", UniqueConstraint("project_id", "digest"))

    digest: Mapped[str]
    document: Mapped[dict[str, Any]]
    created_by: Mapped[UUID]
