"""The slow part of a push and of a split, outside any transaction: blobs are stored before a row tells of them."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from carrara.contracts.datasets import ColumnProfile, IngestOptions, KeySplit, TableProfile, TimeSplit
from carrara.datasets.columns import TIMES
from carrara.datasets.domain import PreparedSnapshot, PreparedSplit, Snapshot
from carrara.datasets.ingest import IngestLimits, ingest
from carrara.datasets.profile import profile_parquet
from carrara.datasets.shared_rows import shared_in_files
from carrara.datasets.splits import check_spec, part_masks, require_both_parts, split_digest
from carrara.kernel.crashpoint import crashpoint
from carrara.kernel.errors import Invalid, Issue
from carrara.storage.blobs import Blobs, TreeFile
from carrara.storage.disk import disk_error

FILE_NAME = "part-00000.parquet"


def prepare_snapshot(
    upload: Path,
    *,
    blobs: Blobs,
    scratch: Path,
    options: IngestOptions | None = None,
    limits: IngestLimits | None = None,
) -> PreparedSnapshot:
    """Checks, normalises, profiles and stores an upload. `Invalid` says what is wrong with it, and where.

    Needs about the size of the table in `scratch`, and leaves nothing there.
    """
    options = options or IngestOptions()
    try:
        with tempfile.TemporaryDirectory(prefix="snapshot-", dir=scratch) as folder:
            table = ingest(upload, Path(folder) / FILE_NAME, options, limits)
            found = profile_parquet(table.path, table.columns)
            time_column, time_from, time_until = _time_range(found.profile, options.time_column)
            blob = blobs.put_file(table.path)
            crashpoint("push.after_blobs")
    except OSError as error:
        raise disk_error(error, "preparing the upload", needed_bytes=upload.stat().st_size) from error
    return PreparedSnapshot(
        digest=table.digest,
        row_count=table.row_count,
        byte_count=blob.size,
        columns=tuple(found.schema(table.column_digests)),
        profile=found.profile,
        files=(TreeFile(FILE_NAME, blob.digest, blob.size),),
        time_column=time_column,
        time_from=time_from,
        time_until=time_until,
    )


def fetch_snapshot(blobs: Blobs, snapshot: Snapshot, folder: Path) -> list[Path]:
    """Writes the Parquet files of a snapshot, verified, into `folder`, new or empty; their paths in row order."""
    blobs.get_tree(snapshot.files, folder)
    return [folder / file.path for file in snapshot.files]


def prepare_split(snapshot: Snapshot, spec: TimeSplit | KeySplit, *, blobs: Blobs, scratch: Path) -> PreparedSplit:
    """Counts the rows of both parts and finds those that are in both. `Invalid` if the spec does not fit or a part is
    empty."""
    check_spec(spec, snapshot.types)
    try:
        with tempfile.TemporaryDirectory(prefix="split-", dir=scratch) as folder:
            paths = fetch_snapshot(blobs, snapshot, Path(folder))
            column = _column(paths, spec.column)
            train, holdout = part_masks(column, spec)
            require_both_parts(column, spec, train, holdout)
            shared = shared_in_files(paths, train, holdout, spec.identity)
    except OSError as error:
        raise disk_error(error, "reading the snapshot", needed_bytes=snapshot.byte_count) from error
    return PreparedSplit(
        digest=split_digest(snapshot.digest, spec),
        spec=spec,
        train_rows=int(train.sum()),
        holdout_rows=int(holdout.sum()),
        shared_rows=shared,
    )


def _column(paths: list[Path], name: str) -> pa.ChunkedArray:
    columns = [pq.read_table(path, columns=[name], partitioning=None).column(name) for path in paths]
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], columns[0].type)


def _time_range(profile: TableProfile, declared: str | None) -> tuple[str | None, datetime | None, datetime | None]:
    """The time column, given or the only one there is, and its first and last moment."""
    times = {column.name: column for column in profile.columns if column.type in TIMES}
    if declared is not None and declared not in times:
        known = {column.name: column.type.value for column in profile.columns}
        what = f"is {known[declared]}" if declared in known else "does not exist"
        message = f"column {declared!r} {what}; the time column must hold times or dates"
        issue = Issue("options.time_column", message, code="bad_time_column")
        raise Invalid(message, code="bad_time_column", issues=[issue])
    name = declared or (next(iter(times)) if len(times) == 1 else None)
    if name is None:
        return None, None, None
    return name, _aware(times[name], "minimum"), _aware(times[name], "maximum")


def _aware(column: ColumnProfile, end: str) -> datetime | None:
    value = getattr(column, end)
    try:
        return datetime.fromisoformat(value).replace(tzinfo=UTC) if value is not None else None
    except ValueError:
        return None  # a year that neither Python nor a person can name
