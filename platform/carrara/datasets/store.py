"""SQL of datasets, snapshots and splits. The caller's transaction is in the scope of the project."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from carrara.contracts.datasets import SPLIT_SPEC, ColumnSchema, SharedRows, TableProfile
from carrara.datasets.domain import Dataset, PreparedSnapshot, PreparedSplit, Snapshot, Split
from carrara.datasets.tables import DatasetRow, SnapshotRow, SplitRow
from carrara.kernel.digests import Digest
from carrara.kernel.ids import DatasetId, ProjectId, SnapshotId, SplitId, UserId, uuid7
from carrara.storage.blobs import TreeFile


def lock_or_make_dataset(
    session: Session, project_id: ProjectId, name: str, *, description: str, created_by: UserId
) -> tuple[DatasetRow, bool]:
    """The row of this name, locked until the transaction ends, and whether it is new."""
    made = session.scalar(
        insert(DatasetRow)
        .values(id=uuid7(), project_id=project_id, name=name, description=description, created_by=created_by)
        .on_conflict_do_nothing(index_elements=["project_id", "name"])
        .returning(DatasetRow.id)
    )
    row = session.scalars(
        select(DatasetRow).where(DatasetRow.project_id == project_id, DatasetRow.name == name).with_for_update()
    ).one()
    return row, made is not None


def datasets(session: Session, project_id: ProjectId, *, after: UUID | None, limit: int) -> list[Dataset]:
    """The project's datasets, newest first, from the one behind `after`."""
    found = select(DatasetRow, _latest()).where(DatasetRow.project_id == project_id)
    if after is not None:
        found = found.where(DatasetRow.id < after)
    rows = session.execute(found.order_by(DatasetRow.id.desc()).limit(limit))
    return [_dataset(row, latest) for row, latest in rows]


def dataset(session: Session, project_id: ProjectId, name: str) -> Dataset | None:
    found = select(DatasetRow, _latest()).where(DatasetRow.project_id == project_id, DatasetRow.name == name)
    row = session.execute(found).one_or_none()
    return _dataset(*row) if row else None


def add_snapshot(
    session: Session, dataset_row: DatasetRow, prepared: PreparedSnapshot, *, number: int, created_by: UserId
) -> Snapshot:
    row = SnapshotRow(
        id=uuid7(),
        project_id=dataset_row.project_id,
        dataset_id=dataset_row.id,
        number=number,
        digest=prepared.digest,
        row_count=prepared.row_count,
        byte_count=prepared.byte_count,
        columns=[column.model_dump(mode="json") for column in prepared.columns],
        profile=prepared.profile.model_dump(mode="json", exclude_none=True),
        files=[{"path": file.path, "digest": file.digest, "size": file.size} for file in prepared.files],
        time_column=prepared.time_column,
        time_from=prepared.time_from,
        time_until=prepared.time_until,
        created_by=created_by,
    )
    session.add(row)
    session.flush()
    return _snapshot(row, dataset_row.name)


def next_number(session: Session, dataset_id: UUID) -> int:
    """The number of the next snapshot; the dataset's row is locked."""
    highest = session.scalar(select(func.max(SnapshotRow.number)).where(SnapshotRow.dataset_id == dataset_id))
    return (highest or 0) + 1


def snapshot(
    session: Session,
    project_id: ProjectId,
    *conditions: ColumnElement[bool],
) -> Snapshot | None:
    """The newest snapshot of the project for which the conditions hold."""
    row = session.execute(
        _with_dataset(project_id).where(*conditions).order_by(SnapshotRow.number.desc()).limit(1)
    ).one_or_none()
    return _snapshot(*row) if row else None


def snapshots(
    session: Session, project_id: ProjectId, dataset_name: str, *, after: UUID | None, limit: int
) -> list[Snapshot]:
    """The snapshots of a dataset, newest first, from the one behind `after`."""
    found = _with_dataset(project_id).where(DatasetRow.name == dataset_name)
    if after is not None:
        found = found.where(SnapshotRow.id < after)
    rows = session.execute(found.order_by(SnapshotRow.id.desc()).limit(limit))
    return [_snapshot(row, name) for row, name in rows]


def profile(session: Session, project_id: ProjectId, snapshot_id: SnapshotId) -> TableProfile:
    found = session.scalars(
        select(SnapshotRow.profile).where(SnapshotRow.project_id == project_id, SnapshotRow.id == snapshot_id)
    ).one()
    return TableProfile.model_validate(found)


def add_split(
    session: Session, project_id: ProjectId, snapshot_id: SnapshotId, prepared: PreparedSplit, *, created_by: UserId
) -> tuple[Split, bool]:
    """The split, and whether it is new: two callers with one spec get one split."""
    made = session.scalar(
        insert(SplitRow)
        .values(
            id=uuid7(),
            project_id=project_id,
            snapshot_id=snapshot_id,
            digest=prepared.digest,
            spec=prepared.spec.model_dump(mode="json"),
            train_rows=prepared.train_rows,
            holdout_rows=prepared.holdout_rows,
            shared_rows=prepared.shared_as_json(),
            holdout_looks=0,
            created_by=created_by,
        )
        .on_conflict_do_nothing(index_elements=["project_id", "snapshot_id", "digest"])
        .returning(SplitRow.id)
    )
    row = session.scalars(
        select(SplitRow).where(
            SplitRow.project_id == project_id,
            SplitRow.snapshot_id == snapshot_id,
            SplitRow.digest == prepared.digest,
        )
    ).one()
    return _split(row), made is not None


def split(session: Session, project_id: ProjectId, *conditions: ColumnElement[bool]) -> Split | None:
    row = session.scalars(select(SplitRow).where(SplitRow.project_id == project_id, *conditions)).one_or_none()
    return _split(row) if row else None


def splits(
    session: Session, project_id: ProjectId, snapshot_id: SnapshotId, *, after: UUID | None, limit: int
) -> Sequence[Split]:
    """The splits of a snapshot, newest first, from the one behind `after`."""
    found = select(SplitRow).where(SplitRow.project_id == project_id, SplitRow.snapshot_id == snapshot_id)
    if after is not None:
        found = found.where(SplitRow.id < after)
    return [_split(row) for row in session.scalars(found.order_by(SplitRow.id.desc()).limit(limit))]


def count_look(session: Session, project_id: ProjectId, split_id: SplitId) -> int | None:
    """One more evaluation has seen the holdout; how many that makes, None if there is no such split."""
    return session.scalar(
        update(SplitRow)
        .where(SplitRow.project_id == project_id, SplitRow.id == split_id)
        .values(holdout_looks=SplitRow.holdout_looks + 1)
        .returning(SplitRow.holdout_looks)
    )


def _latest() -> Any:
    return (
        select(func.max(SnapshotRow.number))
        .where(SnapshotRow.project_id == DatasetRow.project_id, SnapshotRow.dataset_id == DatasetRow.id)
        .scalar_subquery()
    )


def _with_dataset(project_id: ProjectId) -> Any:
    return (
        select(SnapshotRow, DatasetRow.name)
        .join(DatasetRow, DatasetRow.id == SnapshotRow.dataset_id)
        .where(SnapshotRow.project_id == project_id)
    )


def _dataset(row: DatasetRow, latest: int | None) -> Dataset:
    return Dataset(DatasetId(row.id), row.name, row.description, latest, UserId(row.created_by), row.created_at)


def _snapshot(row: SnapshotRow, dataset_name: str) -> Snapshot:
    return Snapshot(
        id=SnapshotId(row.id),
        dataset_id=DatasetId(row.dataset_id),
        dataset=dataset_name,
        number=row.number,
        digest=Digest(row.digest),
        row_count=row.row_count,
        byte_count=row.byte_count,
        columns=tuple(ColumnSchema.model_validate(column) for column in row.columns),
        files=tuple(TreeFile(file["path"], Digest(file["digest"]), file["size"]) for file in row.files),
        time_column=row.time_column,
        time_from=row.time_from,
        time_until=row.time_until,
        created_by=UserId(row.created_by),
        created_at=row.created_at,
    )


def _split(row: SplitRow) -> Split:
    return Split(
        id=SplitId(row.id),
        snapshot_id=SnapshotId(row.snapshot_id),
        digest=Digest(row.digest),
        spec=SPLIT_SPEC.validate_python(row.spec),
        train_rows=row.train_rows,
        holdout_rows=row.holdout_rows,
        shared_rows=SharedRows.model_validate(row.shared_rows),
        holdout_looks=row.holdout_looks,
        created_by=UserId(row.created_by),
        created_at=row.created_at,
    )
