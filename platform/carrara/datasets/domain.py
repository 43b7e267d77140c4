"""Datasets, their snapshots and the splits of these."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from carrara.contracts.datasets import ColumnSchema, KeySplit, SharedRows, StoredType, TableProfile, TimeSplit
from carrara.kernel.digests import Digest
from carrara.kernel.ids import DatasetId, SnapshotId, SplitId, UserId
from carrara.storage.blobs import TreeFile


@dataclass(frozen=True)
class Dataset:
    """A name for a line of snapshots; `latest` is the number of the newest."""

    id: DatasetId
    name: str
    description: str
    latest: int | None
    created_by: UserId
    created_at: datetime


@dataclass(frozen=True)
class Snapshot:
    """An immutable table: its blobs are `files`, Parquet, in row order. `byte_count` is their size."""

    id: SnapshotId
    dataset_id: DatasetId
    dataset: str
    number: int
    digest: Digest
    row_count: int
    byte_count: int
    columns: tuple[ColumnSchema, ...]
    files: tuple[TreeFile, ...]
    time_column: str | None
    time_from: datetime | None
    time_until: datetime | None
    created_by: UserId
    created_at: datetime

    @property
    def types(self) -> dict[str, StoredType]:
        return {column.name: column.type for column in self.columns}


@dataclass(frozen=True)
class Split:
    """A choice of training and holdout rows of one snapshot."""

    id: SplitId
    snapshot_id: SnapshotId
    digest: Digest
    spec: TimeSplit | KeySplit
    train_rows: int
    holdout_rows: int
    shared_rows: SharedRows
    holdout_looks: int
    created_by: UserId
    created_at: datetime


@dataclass(frozen=True)
class PreparedSnapshot:
    """A table whose blobs are stored, ready to be registered. Nothing of it is visible yet."""

    digest: Digest
    row_count: int
    byte_count: int
    columns: tuple[ColumnSchema, ...]
    profile: TableProfile
    files: tuple[TreeFile, ...]
    time_column: str | None
    time_from: datetime | None
    time_until: datetime | None


@dataclass(frozen=True)
class PreparedSplit:
    """A split whose rows are counted, ready to be registered."""

    digest: Digest
    spec: TimeSplit | KeySplit
    train_rows: int
    holdout_rows: int
    shared_rows: SharedRows

    def shared_as_json(self) -> dict[str, Any]:
        return self.shared_rows.model_dump(mode="json")
