"""Which rows train and which are held out: by time or by key. Pure, so a job's child decides as the platform did."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from carrara.contracts.datasets import KeySplit, StoredType, TimeSplit
from carrara.datasets.columns import TIMES, columns_of
from carrara.datasets.profile_numbers import moment_text
from carrara.kernel.digests import Digest, digest_json
from carrara.kernel.errors import Invalid, Issue

AnySplit: TypeAlias = TimeSplit | KeySplit
Part: TypeAlias = Literal["train", "holdout"]
Mask: TypeAlias = npt.NDArray[np.bool_]
Positions: TypeAlias = npt.NDArray[np.int64]

_KEYS = frozenset(StoredType) - {StoredType.NUMBER}
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # moments are compared as microseconds of their column's own clock
_EPOCH_UTC = _EPOCH.replace(tzinfo=UTC)


def split_digest(snapshot_digest: str, spec: AnySplit) -> Digest:
    """The name of a split: the same for the same rows chosen in the same way."""
    return digest_json({"format": "carrara-split/1", "snapshot": snapshot_digest, "spec": spec.model_dump(mode="json")})


def check_spec(spec: AnySplit, types: dict[str, StoredType], where: str = "spec") -> None:
    """`Invalid(bad_split)` unless the spec fits a table with these columns; each fault is an issue under `where`."""
    issues = [
        Issue(f"{where}.{field}", f"there is no column {name!r}", code="unknown_column")
        for field, name in [("column", spec.column), *(("identity", name) for name in spec.identity or ())]
        if name not in types
    ]
    found = types.get(spec.column)
    wanted = TIMES if isinstance(spec, TimeSplit) else _KEYS
    if found is not None and found not in wanted:
        what = f"column {spec.column!r} is {found.value}; a {spec.kind} split needs one of {', '.join(sorted(wanted))}"
        issues.append(Issue(f"{where}.column", what, code="bad_split_column"))
    elif found is not None and isinstance(spec, TimeSplit):
        issues += _moment_faults(spec, found, where)
    if issues:
        raise _bad_split(issues)


def part_masks(column: pa.Array | pa.ChunkedArray, spec: AnySplit) -> tuple[Mask, Mask]:
    """Which rows train and which are held out, from the values of the split's column; no row is both.

    `spec` has passed `check_spec`.
    """
    if isinstance(spec, KeySplit):
        return _key_masks(column, spec)
    times = _microseconds(column)
    known = _bools(column.is_valid())
    kind = _kind_of(column)
    holdout_from = _moment(spec.holdout_from, kind)
    train, holdout = known & (times < holdout_from), known & (times >= holdout_from)
    if spec.train_from is not None:
        train &= times >= _moment(spec.train_from, kind)
    if spec.holdout_until is not None:
        holdout &= times < _moment(spec.holdout_until, kind)
    return train, holdout


def part_positions(table: pa.Table, spec: AnySplit) -> tuple[Positions, Positions]:
    """Where in the table the training rows and the held-out rows are, from 0, ascending."""
    train, holdout = part_masks(table.column(spec.column), spec)
    return np.flatnonzero(train), np.flatnonzero(holdout)


def require_both_parts(column: pa.Array | pa.ChunkedArray, spec: AnySplit, train: Mask, holdout: Mask) -> None:
    """`Invalid(empty_train | empty_holdout)`, telling what the column holds, unless both parts have rows."""
    for part, mask in (("train", train), ("holdout", holdout)):
        if not mask.any():
            what = _why_empty(column, spec)
            message = f"no row is in the {part} part: {what}"
            issue = Issue("spec", message, code=f"empty_{part}")
            raise Invalid(message, code=f"empty_{part}", issues=[issue])


def read_part(paths: Sequence[Path], spec: AnySplit, part: Part, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of one part, in the order of the snapshot; all columns or those named. Reads a row group at a time."""
    tables = []
    for path in paths:
        with pq.ParquetFile(path) as file:
            check_spec(spec, {column.name: column.type for column in columns_of(file.schema_arrow)})
            wanted = list(columns) if columns is not None else file.schema_arrow.names
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=[*dict.fromkeys([*wanted, spec.column])])
                train, holdout = part_masks(table.column(spec.column), spec)
                tables.append(table.select(wanted).filter(pa.array(train if part == "train" else holdout)))
    return pa.concat_tables(tables)


def _key_masks(column: pa.Array | pa.ChunkedArray, spec: KeySplit) -> tuple[Mask, Mask]:
    encoded = (column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column).dictionary_encode()
    held_out = np.array([_is_held_out(key, spec) for key in _key_texts(encoded.dictionary)], dtype=bool)
    known = _bools(encoded.is_valid())
    holdout = np.zeros(len(encoded), dtype=bool)
    if held_out.size:
        holdout = held_out[encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)] & known
    return known & ~holdout, holdout


def _is_held_out(key: str, spec: KeySplit) -> bool:
    """The first 8 bytes of SHA-256 of `<seed>\\n<key>`, as a share of their range, lie below `holdout_percent`."""
    first = hashlib.sha256(f"{spec.seed}\n{key}".encode()).digest()[:8]
    return int.from_bytes(first, "big") / 2**64 * 100 < spec.holdout_percent


def _key_texts(keys: pa.Array) -> list[str]:
    """Keys as text: whole numbers in decimal, dates and times as ISO 8601 with six digits of a second, true, false."""
    if pa.types.is_timestamp(keys.type):
        moments = keys.cast(pa.int64()).to_pylist()
        return [(_EPOCH + timedelta(microseconds=moment)).isoformat(timespec="microseconds") for moment in moments]
    if pa.types.is_date(keys.type):
        return [str(day) for day in keys.to_pylist()]
    return [str(text) for text in keys.cast(pa.string()).to_pylist()]


def _moment_faults(spec: TimeSplit, kind: StoredType, where: str) -> list[Issue]:
    moments: dict[str, int] = {}
    issues = []
    for field in ("train_from", "holdout_from", "holdout_until"):
        text = getattr(spec, field)
        if text is not None:
            try:
                moments[field] = _moment(text, kind)
            except ValueError as error:
                issues.append(Issue(f"{where}.{field}", str(error), code="bad_moment"))
    order = list(moments.items())
    for (earlier, first), (later, second) in pairwise(order):
        if first >= second:
            what = f"{later} ({getattr(spec, later)}) must be after {earlier} ({getattr(spec, earlier)})"
            issues.append(Issue(f"{where}.{later}", what, code="bad_moment"))
    return issues


def _moment(text: str, kind: StoredType) -> int:
    """Microseconds since 1970-01-01 on the column's own clock; ValueError says what was expected."""
    try:
        day = date.fromisoformat(text)
        return (datetime(day.year, day.month, day.day) - _EPOCH) // timedelta(microseconds=1)  # noqa: DTZ001
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:80]!r} is not a moment; expected ISO 8601, such as {_EXAMPLES[kind]}") from None
    if kind is StoredType.DATE:
        raise ValueError(f"{text!r} has a time of day, but the column has dates; expected such as {_EXAMPLES[kind]}")
    if (moment.tzinfo is None) == (kind is StoredType.TIMESTAMP_UTC):
        what = "no zone, but the column is in UTC" if moment.tzinfo is None else "a zone, but the column has none"
        raise ValueError(f"{text!r} has {what}; expected such as {_EXAMPLES[kind]}")
    return (moment - (_EPOCH if moment.tzinfo is None else _EPOCH_UTC)) // timedelta(microseconds=1)


_EXAMPLES = {
    StoredType.DATE: "2013-03-01",
    StoredType.TIMESTAMP: "2013-03-01T00:00:00",
    StoredType.TIMESTAMP_UTC: "2013-03-01T00:00:00Z",
}


def _why_empty(column: pa.Array | pa.ChunkedArray, spec: AnySplit) -> str:
    known = column.drop_null()
    if not len(known):
        return f"column {spec.column!r} holds only nulls"
    if isinstance(spec, KeySplit):
        return (
            f"column {spec.column!r} has {len(known.unique())} different keys, too few for {spec.holdout_percent:g} %"
            f" with seed {spec.seed}; take a larger share, another seed or another column"
        )
    kind, times = _kind_of(column), _microseconds(known)
    low, high = (moment_text(int(end), kind) for end in (times.min(), times.max()))
    after = f" and {spec.train_from} <= t" if spec.train_from else ""
    until = f" and t < {spec.holdout_until}" if spec.holdout_until else ""
    return (
        f"column {spec.column!r} goes from {low} to {high}; asked for were train t < {spec.holdout_from}{after},"
        f" holdout {spec.holdout_from} <= t{until}"
    )


def _kind_of(column: pa.Array | pa.ChunkedArray) -> StoredType:
    if pa.types.is_date(column.type):
        return StoredType.DATE
    return StoredType.TIMESTAMP if column.type.tz is None else StoredType.TIMESTAMP_UTC


def _microseconds(column: pa.Array | pa.ChunkedArray) -> Positions:
    times = column.cast(pa.timestamp("us")) if pa.types.is_date(column.type) else column
    return np.asarray(times.cast(pa.int64()).fill_null(0).to_numpy(), dtype=np.int64)


def _bools(values: pa.Array | pa.ChunkedArray) -> Mask:
    return np.array(
        values if isinstance(values, pa.ChunkedArray) else values.to_numpy(zero_copy_only=False), dtype=bool
    )


def _bad_split(issues: list[Issue]) -> Invalid:
    more = f" (and {len(issues) - 1} more)" if len(issues) > 1 else ""
    return Invalid(f"{issues[0].where}: {issues[0].message}{more}", code="bad_split", issues=issues)
