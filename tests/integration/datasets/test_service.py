"""Snapshots and splits in a real database: all or nothing, once, and recorded."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select, text
from tests.support.people import make_actor, make_project

from carrara.access.domain import Actor, Project
from carrara.audit.tables import AuditRecordRow
from carrara.contracts.datasets import IngestOptions, KeySplit, TimeSplit
from carrara.datasets import service
from carrara.datasets.domain import PreparedSnapshot, Snapshot
from carrara.datasets.preparation import fetch_snapshot, prepare_snapshot, prepare_split
from carrara.kernel.errors import Invalid, NotFound, Unavailable
from carrara.kernel.ids import SplitId, uuid7
from carrara.persistence.database import EVERYTHING, Database, Scope
from carrara.storage.blobs import Blobs
from carrara.storage.directory import DirectoryStore

DAYS = "day,key,x\n" + "".join(f"2013-01-{day:02},k{day % 7},{day}\n" for day in range(1, 31))


def _prepare(blobs: Blobs, folder: Path, csv: str = DAYS) -> PreparedSnapshot:
    upload = folder / "upload.csv"
    upload.write_text(csv)
    return prepare_snapshot(upload, blobs=blobs, scratch=folder)


def _push(database: Database, project: Project, actor: Actor, prepared: PreparedSnapshot) -> tuple[Snapshot, bool]:
    with database.transaction(Scope(project.id, actor.id)) as session:
        return service.push_snapshot(session, project.id, "days", prepared, by=(actor.id, actor.name))


def _actions(database: Database, project: Project) -> list[str]:
    with database.transaction(EVERYTHING) as session:
        wanted = select(AuditRecordRow.action).where(
            AuditRecordRow.project_id == project.id, AuditRecordRow.action.not_like("project.%")
        )
        return list(session.scalars(wanted.order_by(AuditRecordRow.sequence)))


def test_a_push_makes_the_dataset_and_its_first_snapshot(
    database: Database, project: Project, ada: Actor, blobs: Blobs, tmp_path: Path
) -> None:
    made, is_new = _push(database, project, ada, _prepare(blobs, tmp_path))

    assert (made.number, is_new, made.row_count, made.time_column) == (1, True, 30, "day")
    assert made.time_from is not None and made.time_from.isoformat() == "2013-01-01T00:00:00+00:00"
    assert made.time_until is not None and made.time_until.isoformat() == "2013-01-30T00:00:00+00:00"
    assert _actions(database, project) == ["dataset.created", "snapshot.pushed"]
    with database.transaction(Scope(project.id, ada.id)) as session:
        assert service.get_snapshot(session, project.id, "days") == made
        assert service.get_snapshot(session, project.id, "days", 1) == made
        assert service.get_snapshot(session, project.id, "days", made.digest) == made
        assert service.snapshot_by_id(session, project.id, made.id) == made
        assert service.get_dataset(session, project.id, "days").latest == 1
        assert service.get_profile(session, project.id, made.id).rows == 30


def test_the_same_table_again_is_the_same_snapshot_and_no_record(
    database: Database, project: Project, ada: Actor, blobs: Blobs, tmp_path: Path
) -> None:
    prepared = _prepare(blobs, tmp_path)
    first, _ = _push(database, project, ada, prepared)

    again, is_new = _push(database, project, ada, prepared)
    other, _ = _push(database, project, ada, _prepare(blobs, tmp_path, DAYS + "2013-02-01,k0,31\n"))

    assert (again, is_new) == (first, False)
    assert other.number == 2
    assert _actions(database, project) == ["dataset.created", "snapshot.pushed", "snapshot.pushed"]


def test_twenty_pushes_at_once_of_one_table_make_one_snapshot(
    database: Database, project: Project, ada: Actor, blobs: Blobs, tmp_path: Path
) -> None:
    prepared = _prepare(blobs, tmp_path)

    with ThreadPoolExecutor(8) as pool:
        pushed = list(pool.map(lambda _: _push(database, project, ada, prepared), range(20)))

    assert len({snapshot.id for snapshot, _ in pushed}) == 1
    assert [is_new for _, is_new in pushed].count(True) == 1
    assert _actions(database, project) == ["dataset.created", "snapshot.pushed"]


def test_pushes_at_once_of_different_tables_are_numbered_without_gaps(
    database: Database, project: Project, ada: Actor, blobs: Blobs, tmp_path: Path
) -> None:
    prepared = [_prepare(blobs, tmp_path, f"x\n{number}\n") for number in range(8)]

    with ThreadPoolExecutor(8) as pool:
        pushed = list(pool.map(lambda each: _push(database, project, ada, each), prepared))

    assert sorted(snapshot.number for snapshot, _ in pushed) == list(range(1, 9))


def test_a_push_that_rolls_back_leaves_nothing_registered(
    database: Database, project: Project, ada: Actor, blobs: Blobs, tmp_path: Path
) -> None:
    prepared = _prepare(blobs, tmp_path)

    with pytest.raises(RuntimeError, match="on purpose"), database.transaction(Scope(project.id, ada.id)) as session:
        service.push_snapshot(session, project.id, "days", prepared, by=(ada.id, ada.name))
        raise RuntimeError("on purpose")

    with database.transaction(EVERYTHING) as session:
        for table in ("datasets", "snapshots"):
            assert session.scalar(text(f"SELECT count(*) FROM {table}")) == 0
    assert _actions(database, project) == []


def test_a_faulty_upload_stores_no_blob_and_leaves_no_scratch(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        _prepare(blobs, tmp_path, DAYS + "2013-02-01,k0\n")

    assert list(blobs.list()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"store", "upload.csv"}


def test_an_object_store_that_is_away_registers_nothing(tmp_path: Path) -> None:
    blobs = Blobs(DirectoryStore(tmp_path / "store"))
    (tmp_path / "store").rename(tmp_path / "gone")

    with pytest.raises(Unavailable):
        _prepare(blobs, tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {"gone", "upload.csv"}


def test_what_is_not_there_is_told_with_what_is(
    database: Database, project: Project, ada: Actor, blobs: Blobs, tmp_path: Path
) -> None:
    _push(database, project, ada, _prepare(blobs, tmp_path))
    with database.transaction(Scope(project.id, ada.id)) as session:
        with pytest.raises(NotFound, match="no dataset with name 'nights'"):
            service.get_snapshot(session, project.id, "nights")
        with pytest.raises(NotFound, match="the newest is number 1"):
            service.get_snapshot(session, project.id, "days", 2)
        with pytest.raises(Invalid, match="neither the number nor the digest"):
            service.get_snapshot(session, project.id, "days", "../../x")
        with pytest.raises(NotFound):
            service.get_split(session, project.id, SplitId(uuid7()))


def test_another_project_sees_none_of_it(
    database: Database, project: Project, ada: Actor, blobs: Blobs, tmp_path: Path
) -> None:
    made, _ = _push(database, project, ada, _prepare(blobs, tmp_path))
    bob = make_actor(database, "bob")
    other = make_project(database, bob, "other")

    with database.transaction(Scope(other.id, bob.id)) as session:
        assert service.list_datasets(session, other.id, after=None, limit=10) == []
        with pytest.raises(NotFound):
            service.get_dataset(session, other.id, "days")
        with pytest.raises(NotFound):
            service.snapshot_by_id(session, other.id, made.id)
        # even a caller that asks with the other project's id: row-level security
        with pytest.raises(NotFound):
            service.snapshot_by_id(session, project.id, made.id)


def test_listings_are_pages_that_do_not_shift(
    database: Database, project: Project, ada: Actor, blobs: Blobs, tmp_path: Path
) -> None:
    for number in range(5):
        _push(database, project, ada, _prepare(blobs, tmp_path, f"x\n{number}\n"))

    seen: list[int] = []
    after = None
    for page in range(3):
        with database.transaction(Scope(project.id, ada.id)) as session:
            found = service.list_snapshots(session, project.id, "days", after=after, limit=2)
        seen += [snapshot.number for snapshot in found]
        after = found[-1].id
        if page == 0:
            _push(database, project, ada, _prepare(blobs, tmp_path, "x\n99\n"))

    assert seen == [5, 4, 3, 2, 1]


def test_a_split_is_made_once_and_counts_its_looks(
    database: Database, project: Project, ada: Actor, blobs: Blobs, tmp_path: Path
) -> None:
    snapshot, _ = _push(database, project, ada, _prepare(blobs, tmp_path))
    spec = TimeSplit(column="day", holdout_from="2013-01-21")
    prepared = prepare_split(snapshot, spec, blobs=blobs, scratch=tmp_path)
    by = (ada.id, ada.name)

    with database.transaction(Scope(project.id, ada.id)) as session:
        assert service.find_split(session, project.id, snapshot, spec) is None
        first, is_new = service.create_split(session, project.id, snapshot, prepared, by=by)
    with database.transaction(Scope(project.id, ada.id)) as session:
        again, is_newer = service.create_split(session, project.id, snapshot, prepared, by=by)
        assert service.find_split(session, project.id, snapshot, spec) == first
        assert service.get_split(session, project.id, first.id) == first
        looks = [service.note_holdout_look(session, project.id, first.id) for _ in range(2)]
        listed = service.list_splits(session, project.id, snapshot.id, after=None, limit=10)

    assert (first, is_new, is_newer) == (again, True, False)
    assert (first.train_rows, first.holdout_rows, first.shared_rows.count) == (20, 10, 0)
    assert looks == [1, 2]
    assert [each.holdout_looks for each in listed] == [2]
    assert _actions(database, project)[2:] == ["split.created"]
    assert {path.name for path in tmp_path.iterdir()} == {"store", "upload.csv"}


def test_a_split_by_key_names_rows_that_are_on_both_sides(
    database: Database, project: Project, ada: Actor, blobs: Blobs, tmp_path: Path
) -> None:
    csv = "key,x\n" + "".join(f"k{number},{number % 3}\n" for number in range(40))
    snapshot, _ = _push(database, project, ada, _prepare(blobs, tmp_path, csv))

    plain = KeySplit(column="key", holdout_percent=30)
    by_x = KeySplit(column="key", holdout_percent=30, identity=["x"])

    assert prepare_split(snapshot, plain, blobs=blobs, scratch=tmp_path).shared_rows.count == 0
    prepared = prepare_split(snapshot, by_x, blobs=blobs, scratch=tmp_path)
    assert prepared.shared_rows.count == prepared.holdout_rows
    assert prepared.shared_rows.compared == ["x"]


def test_the_stored_rows_come_back_verified(
    database: Database, project: Project, ada: Actor, blobs: Blobs, tmp_path: Path
) -> None:
    snapshot, _ = _push(database, project, ada, _prepare(blobs, tmp_path))

    paths = fetch_snapshot(blobs, snapshot, tmp_path / "rows")

    assert [path.name for path in paths] == ["part-00000.parquet"]
    assert sum(path.stat().st_size for path in paths) == snapshot.byte_count


def test_the_flights_are_registered_with_their_time_range(
    database: Database, project: Project, ada: Actor, blobs: Blobs, tmp_path: Path, flights_csv: Path
) -> None:
    prepared = prepare_snapshot(flights_csv, blobs=blobs, scratch=tmp_path, options=IngestOptions())

    made, _ = _push(database, project, ada, prepared)

    assert (made.row_count, made.time_column) == (336_776, "time_hour")
    assert made.time_from is not None and made.time_from.isoformat() == "2013-01-01T10:00:00+00:00"
    spec = TimeSplit(column="time_hour", train_from="2013-01-01", holdout_from="2013-03-01", holdout_until="2013-04-01")
    split = prepare_split(made, spec, blobs=blobs, scratch=tmp_path)
    assert (split.train_rows, split.holdout_rows, split.shared_rows.count) == (51_801, 28_886, 0)
