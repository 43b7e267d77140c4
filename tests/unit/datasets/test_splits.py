"""Which rows are held out: by time, by key; and the rows that are on both sides."""

import hashlib
import math
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.contracts.datasets import SPLIT_SPEC, KeySplit, StoredType, TimeSplit
from carrara.datasets.splits import (
    check_spec,
    part_masks,
    part_positions,
    read_part,
    require_both_parts,
    split_digest,
)
from carrara.kernel.errors import Invalid

T = StoredType
_at = datetime.fromisoformat
UTC = pa.array([_at(f"2013-01-{day:02}T12:00:00Z") for day in range(1, 11)] + [None], pa.timestamp("us", "UTC"))
NAIVE = pa.array([_at(f"2013-01-{day:02}T12:00:00") for day in range(1, 11)] + [None], pa.timestamp("us"))
DATES = pa.array([date(2013, 1, day) for day in range(1, 11)] + [None], pa.date32())


def _parts(column: pa.Array, spec: TimeSplit | KeySplit) -> tuple[list[int], list[int]]:
    train, holdout = part_masks(column, spec)
    return np.flatnonzero(train).tolist(), np.flatnonzero(holdout).tolist()


TIME_CASES = [
    # column, holdout_from, holdout_until, train_from, train rows, holdout rows
    (UTC, "2013-01-04", None, None, range(3), range(3, 10)),
    (UTC, "2013-01-04T12:00:00Z", None, None, range(3), range(3, 10)),
    (UTC, "2013-01-04T12:00:00.000001Z", None, None, range(4), range(4, 10)),
    (UTC, "2013-01-04T07:00:00-05:00", None, None, range(3), range(3, 10)),
    (UTC, "2013-01-04", "2013-01-06", "2013-01-02", range(1, 3), range(3, 5)),
    (UTC, "2013-01-04", "2013-01-05T12:00:00Z", "2013-01-02T12:00:00Z", range(1, 3), range(3, 4)),
    (NAIVE, "2013-01-04T12:00:00", None, None, range(3), range(3, 10)),
    (NAIVE, "2013-01-04", "2013-01-06", None, range(3), range(3, 5)),
    (DATES, "2013-01-04", None, None, range(3), range(3, 10)),
    (DATES, "2013-01-04", "2013-01-05", "2013-01-03", range(2, 3), range(3, 4)),
    (UTC, "1000-01-01", None, None, [], range(10)),
    (UTC, "9999-12-31", None, None, range(10), []),
]


@pytest.mark.parametrize(("column", "start", "until", "train_from", "train", "holdout"), TIME_CASES)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_time_split_holds_its_bounds(
    column: pa.Array, start: str, until: str | None, train_from: str | None, train: Any, holdout: Any, chunked: bool
) -> None:
    spec = TimeSplit(column="t", holdout_from=start, holdout_until=until, train_from=train_from)
    values = pa.chunked_array([column[:4], column[4:]]) if chunked else column

    assert _parts(values, spec) == (list(train), list(holdout))


BAD_SPECS = [
    (TimeSplit(column="x", holdout_from="2013-01-01"), "spec.column", "there is no column 'x'"),
    (TimeSplit(column="n", holdout_from="2013-01-01"), "spec.column", "needs one of date, timestamp, timestamp_utc"),
    (
        TimeSplit(column="utc", holdout_from="March"),
        "spec.holdout_from",
        "expected ISO 8601, such as 2013-03-01T00:00:00Z",
    ),
    (TimeSplit(column="utc", holdout_from="2013-02-30"), "spec.holdout_from", "is not a moment"),
    (TimeSplit(column="utc", holdout_from=""), "spec.holdout_from", "is not a moment"),
    (
        TimeSplit(column="utc", holdout_from="2013-01-01T00:00:00"),
        "spec.holdout_from",
        "no zone, but the column is in UTC",
    ),
    (
        TimeSplit(column="at", holdout_from="2013-01-01T00:00:00Z"),
        "spec.holdout_from",
        "a zone, but the column has none",
    ),
    (
        TimeSplit(column="d", holdout_from="2013-01-01T05:00"),
        "spec.holdout_from",
        "has a time of day, but the column has dates",
    ),
    (
        TimeSplit(column="d", holdout_from="2013-01-02", holdout_until="2013-01-02"),
        "spec.holdout_until",
        "must be after",
    ),
    (
        TimeSplit(column="d", holdout_from="2013-01-02", train_from="2013-01-03"),
        "spec.holdout_from",
        "must be after train_from",
    ),
    (TimeSplit(column="d", holdout_from="2013-01-02", identity=["n", "x"]), "spec.identity", "there is no column 'x'"),
    (KeySplit(column="n", holdout_percent=20), "spec.column", "column 'n' is number; a key split needs one of"),
]


@pytest.mark.parametrize(("spec", "where", "words"), BAD_SPECS)
def test_a_spec_that_does_not_fit_is_refused_at_its_field(spec: TimeSplit | KeySplit, where: str, words: str) -> None:
    types = {"utc": T.TIMESTAMP_UTC, "at": T.TIMESTAMP, "d": T.DATE, "n": T.NUMBER}

    with pytest.raises(Invalid) as caught:
        check_spec(spec, types)

    assert [issue.where for issue in caught.value.issues] == [where]
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "random"},
        {"kind": "key", "column": "k", "holdout_percent": 0},
        {"kind": "key", "column": "k", "holdout_percent": 100},
        {"kind": "key", "column": "k", "holdout_percent": math.nan},
        {"kind": "key", "column": "k", "holdout_percent": 20, "seed": -1},
        {"kind": "time", "column": "t"},
        {"kind": "time", "column": "t", "holdout_from": "2013-01-01", "identity": []},
        {"kind": "time", "column": "t", "holdout_from": "2013-01-01", "until": "2014"},
    ],
)
def test_a_spec_that_says_nothing_sensible_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        SPLIT_SPEC.validate_python(document)


@pytest.mark.parametrize(
    ("spec", "code", "words"),
    [
        (
            TimeSplit(column="t", holdout_from="2014-01-01"),
            "empty_holdout",
            "from 2013-01-01T12:00:00Z to 2013-01-10T12:00:00Z",
        ),
        (
            TimeSplit(column="t", holdout_from="2013-01-01"),
            "empty_train",
            "asked for were train t < 2013-01-01, holdout",
        ),
        (
            TimeSplit(column="t", holdout_from="2013-01-05", train_from="2013-01-04T13:00:00Z"),
            "empty_train",
            "2013-01-04T13:00:00Z <= t",
        ),
    ],
)
def test_an_empty_part_is_refused_with_the_range_that_there_is(spec: TimeSplit, code: str, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        require_both_parts(UTC, spec, *part_masks(UTC, spec))

    assert caught.value.code == code
    assert words in str(caught.value)


def test_keys_too_few_to_share_out_and_nulls_alone_are_told() -> None:
    spec = KeySplit(column="k", holdout_percent=1)
    for column, words in (
        (pa.array(["a", "a"]), "1 different keys, too few for 1 %"),
        (pa.array([None], pa.string()), "only nulls"),
    ):
        with pytest.raises(Invalid, match=words):
            require_both_parts(column, spec, *part_masks(column, spec))


def test_the_side_of_a_key_is_the_one_that_was_written_down() -> None:
    # printf '7\na' | sha256sum begins with 9929bdec48a6223b: 0.5983 of 2^64
    keys = ["a", "b", "c", "Zürich", "", "0"]
    shares = [int(hashlib.sha256(f"7\n{key}".encode()).hexdigest()[:16], 16) / 2**64 for key in keys]

    assert [round(share, 4) for share in shares] == [0.5983, 0.4367, 0.3399, 0.9456, 0.0628, 0.4653]
    _, holdout = part_masks(pa.array(keys), KeySplit(column="k", holdout_percent=50, seed=7))
    assert holdout.tolist() == [share < 0.5 for share in shares]


def test_a_key_is_the_same_whatever_type_its_column_has() -> None:
    spec = KeySplit(column="k", holdout_percent=50)
    as_integer = _parts(pa.array(range(100), pa.int64()), spec)

    assert _parts(pa.array([str(number) for number in range(100)]), spec) == as_integer
    moments = pa.array([number * 86_400_000_000 for number in range(100)])
    assert _parts(moments.cast(pa.timestamp("us")), spec) == _parts(moments.cast(pa.timestamp("us", "UTC")), spec)


def test_the_share_of_keys_is_about_what_was_asked() -> None:
    keys = pa.array([f"customer-{number}" for number in range(20_000)])

    for seed in range(5):
        _, holdout = part_masks(keys, KeySplit(column="k", holdout_percent=20, seed=seed))
        assert holdout.mean() == pytest.approx(0.2, abs=5 * math.sqrt(0.2 * 0.8 / 20_000))


@given(
    keys=st.lists(st.none() | st.text(max_size=3), min_size=1, max_size=30),
    more=st.lists(st.none() | st.text(max_size=3), max_size=30),
    seed=st.integers(0, 2**32 - 1),
    percent=st.floats(1, 99),
)
@settings(max_examples=200, deadline=None)
def test_a_key_never_changes_sides(keys: list[str | None], more: list[str | None], seed: int, percent: float) -> None:
    spec = KeySplit(column="k", holdout_percent=percent, seed=seed)
    train, holdout = part_masks(pa.array(keys, pa.string()), spec)
    train_later, holdout_later = part_masks(pa.array([*more, *keys], pa.string()), spec)

    assert train_later[len(more) :].tolist() == train.tolist()
    assert holdout_later[len(more) :].tolist() == holdout.tolist()
    assert (train ^ holdout).tolist() == [key is not None for key in keys]
    larger = spec.model_copy(update={"holdout_percent": min(percent + 10, 99.5)})
    assert not (holdout & ~part_masks(pa.array(keys, pa.string()), larger)[1]).any()


def test_a_split_has_one_name_for_one_choice_of_rows() -> None:
    spec = TimeSplit(column="t", holdout_from="2013-01-01")
    names = {
        split_digest("sha256:a", spec),
        split_digest("sha256:b", spec),
        split_digest("sha256:a", spec.model_copy(update={"holdout_from": "2013-01-02"})),
        split_digest("sha256:a", spec.model_copy(update={"identity": ["x"]})),
        split_digest("sha256:a", KeySplit(column="t", holdout_percent=20)),
        split_digest("sha256:a", KeySplit(column="t", holdout_percent=20, seed=1)),
    }

    assert len(names) == 6
    assert split_digest("sha256:a", TimeSplit.model_validate_json(spec.model_dump_json())) in names


def _write(folder: Path, table: pa.Table, files: int = 2) -> list[Path]:
    paths = []
    size = -(-table.num_rows // files)
    for number in range(files):
        paths.append(folder / f"{number}.parquet")
        pq.write_table(table.slice(number * size, size), paths[-1], row_group_size=3)
    return paths


def test_a_part_is_read_in_order_over_files_and_row_groups(tmp_path: Path) -> None:
    paths = _write(tmp_path, pa.table({"row": range(11), "t": UTC}))
    spec = TimeSplit(column="t", holdout_from="2013-01-08", train_from="2013-01-03")

    assert read_part(paths, spec, "train").column("row").to_pylist() == [2, 3, 4, 5, 6]
    assert read_part(paths, spec, "train").column_names == ["row", "t"]
    assert read_part(paths, spec, "holdout", ["row"]).to_pydict() == {"row": [7, 8, 9]}
    train, holdout = part_positions(pa.table({"row": range(11), "t": UTC}), spec)
    assert (train.tolist(), holdout.tolist()) == ([2, 3, 4, 5, 6], [7, 8, 9])
    with pytest.raises(Invalid, match="no column 'gone'"):
        read_part(paths, TimeSplit(column="gone", holdout_from="2013-01-08"), "train")
