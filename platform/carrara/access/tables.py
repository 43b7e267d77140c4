"""Projects, people and machines, their tokens and roles."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from carrara.kernel.ids import uuid7
from carrara.persistence.tables import Created, Row


class ProjectRow(Created, Row):
    __tablename__ = "projects"
    __table_args__ = (CheckConstraint("tier BETWEEN 1 AND 4", name="tier"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str] = mapped_column(default="")
    tier: Mapped[int]
    settings: Mapped[dict[str, Any]]


class UserRow(Created, Row):
    __tablename__ = "users"
    __table_args__ = (CheckConstraint("kind IN ('person', 'service')", name="kind"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    is_platform_admin: Mapped[bool] = mapped_column(default=False)
    disabled_at: Mapped[datetime | None]


class TokenRow(Created, Row):
    __tablename__ = "api_tokens"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str]
    prefix: Mapped[str] = mapped_column(index=True)
    hash: Mapped[str] = mapped_column(unique=True)
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class MembershipRow(Created, Row):
    __tablename__ = "memberships"
    __table_args__ = (CheckConstraint("role IN ('viewer', 'data_scientist', 'approver', 'admin')", name="role"),)

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)
    role: Mapped[str] = mapped_column(primary_key=True)
