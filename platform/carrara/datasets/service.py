"""Registering snapshots and splits, and finding them. The slow work was done before, in `preparation`."""

import re
from uuid import UUID

from sqlalchemy.orm import Session

from carrara.audit.service import record
from carrara.contracts.datasets import KeySplit, TableProfile, TimeSplit
from carrara.datasets import store
from carrara.datasets.domain import Dataset, PreparedSnapshot, PreparedSplit, Snapshot, Split
from carrara.datasets.splits import check_spec, split_digest
from carrara.datasets.tables import DatasetRow, SnapshotRow, SplitRow
from carrara.kernel.crashpoint import crashpoint
from carrara.kernel.digests import DIGEST_PATTERN
from carrara.kernel.errors import Invalid, NotFound
from carrara.kernel.ids import ProjectId, SnapshotId, SplitId, UserId
from carrara.kernel.names import check_slug
from carrara.persistence.database import after_commit

By = tuple[UserId, str]
"""Who acts: id and name, as audit records want them."""

SnapshotName = int | str | None
"""A snapshot of a dataset: its number, its digest, or None for the newest."""


def push_snapshot(
    session: Session,
    project_id: ProjectId,
    dataset_name: str,
    prepared: PreparedSnapshot,
    *,
    by: By,
    description: str = "",
) -> tuple[Snapshot, bool]:
    """Registers a prepared table as the dataset's next snapshot, making the dataset if it is new.

    The same table again gives the snapshot that is there, and False: nothing is added or recorded.
    """
    check_slug(dataset_name, "dataset")
    row, is_new_dataset = store.lock_or_make_dataset(
        session, project_id, dataset_name, description=description, created_by=by[0]
    )
    same = (SnapshotRow.dataset_id == row.id, SnapshotRow.digest == prepared.digest)
    known = store.snapshot(session, project_id, *same)
    if known is not None:
        return known, False
    number = store.next_number(session, row.id)
    made = store.add_snapshot(session, row, prepared, number=number, created_by=by[0])
    if is_new_dataset:
        record(
            session,
            "dataset.created",
            actor=by,
            subject=("dataset", row.id),
            project_id=project_id,
            name=dataset_name,
        )
    record(
        session,
        "snapshot.pushed",
        actor=by,
        subject=("snapshot", made.id),
        project_id=project_id,
        dataset=dataset_name,
        number=number,
        digest=made.digest,
        rows=made.row_count,
    )
    after_commit(session, lambda: crashpoint("push.after_commit"))
    return made, True


def list_datasets(session: Session, project_id: ProjectId, *, after: UUID | None, limit: int) -> list[Dataset]:
    """The project's datasets, newest first, from the one behind `after`."""
    return store.datasets(session, project_id, after=after, limit=limit)


def get_dataset(session: Session, project_id: ProjectId, name: str) -> Dataset:
    found = store.dataset(session, project_id, name)
    if found is None:
        raise NotFound("dataset", name=name, hint="`carrara data list` shows those of the project")
    return found


def list_snapshots(
    session: Session, project_id: ProjectId, dataset_name: str, *, after: UUID | None, limit: int
) -> list[Snapshot]:
    """The dataset's snapshots, newest first, from the one behind `after`."""
    get_dataset(session, project_id, dataset_name)
    return store.snapshots(session, project_id, dataset_name, after=after, limit=limit)


def get_snapshot(session: Session, project_id: ProjectId, dataset_name: str, which: SnapshotName = None) -> Snapshot:
    """A snapshot of a dataset by its number or digest; the newest if neither is given."""
    conditions = [DatasetRow.name == dataset_name]
    if isinstance(which, int):
        conditions.append(SnapshotRow.number == which)
    elif which is not None:
        if not re.fullmatch(DIGEST_PATTERN, which):
            raise Invalid(f"{which[:80]!r} is neither the number nor the digest of a snapshot", code="bad_snapshot")
        conditions.append(SnapshotRow.digest == which)
    found = store.snapshot(session, project_id, *conditions)
    if found is None:
        latest = get_dataset(session, project_id, dataset_name).latest
        raise NotFound("snapshot", dataset=dataset_name, snapshot=which, hint=f"the newest is number {latest}")
    return found


def snapshot_by_id(session: Session, project_id: ProjectId, snapshot_id: SnapshotId) -> Snapshot:
    found = store.snapshot(session, project_id, SnapshotRow.id == snapshot_id)
    if found is None:
        raise NotFound("snapshot", id=str(snapshot_id))
    return found


def get_profile(session: Session, project_id: ProjectId, snapshot_id: SnapshotId) -> TableProfile:
    """The profile that was made when the snapshot, which exists, was pushed."""
    return store.profile(session, project_id, snapshot_id)


def find_split(session: Session, project_id: ProjectId, snapshot: Snapshot, spec: TimeSplit | KeySplit) -> Split | None:
    """The split of this snapshot by this spec, if it was made before; `Invalid` if the spec does not fit."""
    check_spec(spec, snapshot.types)
    same = (SplitRow.snapshot_id == snapshot.id, SplitRow.digest == split_digest(snapshot.digest, spec))
    return store.split(session, project_id, *same)


def create_split(
    session: Session, project_id: ProjectId, snapshot: Snapshot, prepared: PreparedSplit, *, by: By
) -> tuple[Split, bool]:
    """Registers a prepared split; one that is there already comes back, and False."""
    made, is_new = store.add_split(session, project_id, snapshot.id, prepared, created_by=by[0])
    if is_new:
        record(
            session,
            "split.created",
            actor=by,
            subject=("split", made.id),
            project_id=project_id,
            snapshot=str(snapshot.id),
            digest=made.digest,
            train_rows=made.train_rows,
            holdout_rows=made.holdout_rows,
            shared_rows=made.shared_rows.count,
        )
    return made, is_new


def get_split(session: Session, project_id: ProjectId, split_id: SplitId) -> Split:
    found = store.split(session, project_id, SplitRow.id == split_id)
    if found is None:
        raise NotFound("split", id=str(split_id))
    return found


def list_splits(
    session: Session, project_id: ProjectId, snapshot_id: SnapshotId, *, after: UUID | None, limit: int
) -> list[Split]:
    """The splits of a snapshot, newest first, from the one behind `after`."""
    return list(store.splits(session, project_id, snapshot_id, after=after, limit=limit))


def note_holdout_look(session: Session, project_id: ProjectId, split_id: SplitId) -> int:
    """Counts one more evaluation that has seen the holdout, and gives the count: a gate has a budget of looks."""
    looks = store.count_look(session, project_id, split_id)
    if looks is None:
        raise NotFound("split", id=str(split_id))
    return looks
