"""Datasets, their immutable snapshots, and splits."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from carrara.persistence.tables import Created, ProjectOwned, Row, belongs, owned


class DatasetRow(Created, ProjectOwned, Row):
    __tablename__ = "datasets"
    __table_args__ = owned("datasets", UniqueConstraint("project_id", "name"))

    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    created_by: Mapped[UUID]


class SnapshotRow(Created, ProjectOwned, Row):
    __tablename__ = "snapshots"
    __table_args__ = owned(
        "snapshots",
        belongs("dataset_id", "datasets"),
        UniqueConstraint("project_id", "dataset_id", "number"),
        UniqueConstraint("project_id", "dataset_id", "digest"),
    )

    dataset_id: Mapped[UUID]
    number: Mapped[int]
    digest: Mapped[str]
    row_count: Mapped[int] = mapped_column(BigInteger)
    byte_count: Mapped[int] = mapped_column(BigInteger)
    columns: Mapped[list[Any]]
    profile: Mapped[dict[str, Any]]
    files: Mapped[list[Any]]
    time_column: Mapped[str | None]
    time_from: Mapped[datetime | None]
    time_until: Mapped[datetime | None]
    created_by: Mapped[UUID]


class SplitRow(Created, ProjectOwned, Row):
    __tablename__ = "splits"
    __table_args__ = owned(
        "splits", belongs("snapshot_id", "snapshots"), UniqueConstraint("project_id", "snapshot_id", "digest")
    )

    snapshot_id: Mapped[UUID]
    digest: Mapped[str]
    spec: Mapped[dict[str, Any]]
    train_rows: Mapped[int] = mapped_column(BigInteger)
    holdout_rows: Mapped[int] = mapped_column(BigInteger)
    shared_rows: Mapped[dict[str, Any]]
    holdout_looks: Mapped[int] = mapped_column(default=0)
    created_by: Mapped[UUID]
