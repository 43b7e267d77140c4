"""Audit records, which the application may only insert, and the chain that seals them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from carrara.kernel.ids import uuid7
from carrara.persistence.tables import Row


class AuditRecordRow(Row):
    __tablename__ = "audit_records"
    __table_args__ = (Index("ix_audit_records_subject", "subject_kind", "subject_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    sequence: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    project_id: Mapped[UUID | None] = mapped_column(ForeignKey("projects.id"), index=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    actor_id: Mapped[UUID | None]
    actor: Mapped[str]
    action: Mapped[str]
    subject_kind: Mapped[str]
    subject_id: Mapped[str]
    details: Mapped[dict[str, Any]]


class AuditSealRow(Row):
    __tablename__ = "audit_seals"

    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    record_id: Mapped[UUID] = mapped_column(unique=True)
    sequence: Mapped[int] = mapped_column(BigInteger, index=True)
    digest: Mapped[str]
    sealed_at: Mapped[datetime] = mapped_column(server_default=func.now())
