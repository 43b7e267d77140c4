"""Endpoints, approvals, rollouts, the ledger, and what serving processes report."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, Integer, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from carrara.persistence.tables import Created, ProjectOwned, Row, belongs, owned


class EndpointRow(Created, ProjectOwned, Row):
    """The four pointers derive from the ledger and the open rollout; `revision` is what a compare-and-set compares."""

    __tablename__ = "endpoints"
    __table_args__ = owned(
        "endpoints",
        UniqueConstraint("project_id", "name"),
        belongs("desired_release_id", "releases"),
        belongs("candidate_release_id", "releases"),
        belongs("current_release_id", "releases"),
        belongs("rollback_target_id", "releases"),
        belongs("policy_id", "gate_policies"),
    )

    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    revision: Mapped[int] = mapped_column(BigInteger, default=1)
    desired_release_id: Mapped[UUID | None]
    candidate_release_id: Mapped[UUID | None]
    current_release_id: Mapped[UUID | None]
    rollback_target_id: Mapped[UUID | None]
    fallback: Mapped[dict[str, Any] | None]
    policy_id: Mapped[UUID | None]
    created_by: Mapped[UUID]


class ApprovalRow(Created, ProjectOwned, Row):
    __tablename__ = "approvals"
    __table_args__ = owned(
        "approvals",
        belongs("release_id", "releases"),
        belongs("endpoint_id", "endpoints"),
        belongs("evaluation_id", "evaluations"),
        CheckConstraint("decision IN ('approved', 'rejected')", name="decision"),
        CheckConstraint("revoked_at IS NULL OR decision = 'approved'", name="revocable"),
        Index("ix_approvals_subject", "project_id", "endpoint_id", "release_id"),
    )

    release_id: Mapped[UUID]
    endpoint_id: Mapped[UUID]
    evaluation_id: Mapped[UUID | None]
    evaluation_digest: Mapped[str | None]
    policy_digest: Mapped[str | None]
    decision: Mapped[str]
    comment: Mapped[str] = mapped_column(default="")
    approver_id: Mapped[UUID]
    is_self_approval: Mapped[bool] = mapped_column(default=False)
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[UUID | None]
    revocation_reason: Mapped[str | None]


class RolloutRow(Created, ProjectOwned, Row):
    __tablename__ = "rollouts"
    __table_args__ = owned(
        "rollouts",
        belongs("endpoint_id", "endpoints"),
        belongs("release_id", "releases"),
        belongs("previous_release_id", "releases"),
        belongs("approval_id", "approvals"),
        Index(
            "uq_rollouts_one_open",
            "project_id",
            "endpoint_id",
            unique=True,
            postgresql_where=text("finished_at IS NULL"),
        ),
    )

    endpoint_id: Mapped[UUID]
    release_id: Mapped[UUID]
    previous_release_id: Mapped[UUID | None]
    approval_id: Mapped[UUID]
    strategy: Mapped[str]
    state: Mapped[str]
    reason: Mapped[str] = mapped_column(default="")
    evidence: Mapped[dict[str, Any]]
    generation: Mapped[int | None] = mapped_column(BigInteger)
    started_by: Mapped[UUID]
    deadline_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class LedgerRow(ProjectOwned, Row):
    """What was live from `at` until the next entry's `at`. `release_id` null: the declared fallback; `actor_id` null:
    Carrara itself, by a rule. `evidence`: of a rollback, which processes held its target."""

    __tablename__ = "ledger_entries"
    __table_args__ = owned(
        "ledger_entries",
        belongs("endpoint_id", "endpoints"),
        belongs("release_id", "releases"),
        belongs("previous_release_id", "releases"),
        belongs("rollout_id", "rollouts"),
        UniqueConstraint("project_id", "endpoint_id", "sequence"),
        CheckConstraint("kind IN ('promotion', 'rollback')", name="kind"),
    )

    endpoint_id: Mapped[UUID]
    sequence: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str]
    release_id: Mapped[UUID | None]
    previous_release_id: Mapped[UUID | None]
    rollout_id: Mapped[UUID | None]
    generation: Mapped[int] = mapped_column(BigInteger)
    actor_id: Mapped[UUID | None]
    reason: Mapped[str]
    evidence: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


class RouteGenerationRow(Row):
    """One row: the number of the route table that serving should have."""

    __tablename__ = "route_generation"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    generation: Mapped[int] = mapped_column(BigInteger)


class InstanceRow(Row):
    """The lease of one serving process: what it says that it serves, by digests that it hashed itself.

    A process that ended in good order keeps its row for a while, with `left_at`, against reports that come late.
    """

    __tablename__ = "serving_instances"

    boot_id: Mapped[UUID] = mapped_column(primary_key=True)
    instance: Mapped[str]
    index: Mapped[int]
    sequence: Mapped[int] = mapped_column(BigInteger)
    generation: Mapped[int] = mapped_column(BigInteger)
    report: Mapped[dict[str, Any]]
    started_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    reported_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    lease_until: Mapped[datetime]
    left_at: Mapped[datetime | None]
