"""Rows that are on both sides of a split: counted, named, and never missed or made up."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.datasets.shared_rows import shared_between, shared_in_files
from carrara.kernel.errors import Invalid


def _write(folder: Path, table: pa.Table, files: int = 2) -> list[Path]:
    paths = []
    size = -(-table.num_rows // files)
    for number in range(files):
        paths.append(folder / f"{number}.parquet")
        pq.write_table(table.slice(number * size, size), paths[-1], row_group_size=3)
    return paths


COLUMNS: dict[str, list[Any]] = {
    "i": [1, 1, 2, None, None, 5, 1],
    "n": [0.0, -0.0, math.nan, math.nan, 1.5, None, 0.0],
    "t": ["a", "a", "b", None, "", "é", "A"],
}


def test_shared_rows_are_counted_and_named(tmp_path: Path) -> None:
    table = pa.table({**COLUMNS, "side": ["t", "h", "t", "t", "t", "t", "h"]}).drop_columns(["side"])
    holdout = np.array([False, True, False, False, False, False, True])
    paths = _write(tmp_path, table)

    over_all = shared_in_files(paths, ~holdout, holdout)
    over_i = shared_in_files(paths, ~holdout, holdout, ["i"])

    assert (over_all.count, over_all.compared) == (1, ["i", "n", "t"])  # 0.0 is -0.0; "A" is not "a"
    assert [(pair.holdout_row, pair.train_row) for pair in over_all.first] == [(1, 0)]
    assert [(pair.holdout_row, pair.train_row) for pair in over_i.first] == [(1, 0), (6, 0)]


def test_null_equals_null_and_nan_equals_nan_and_neither_the_other() -> None:
    table = pa.table({"n": pa.array([None, math.nan, 1.0]), "t": ["x", "x", "x"]})

    assert shared_between(table, pa.table({"n": pa.array([None], pa.float64()), "t": ["x"]})).count == 1
    assert shared_between(table, pa.table({"n": [math.nan], "t": ["x"]})).first[0].train_row == 1
    assert shared_between(table, pa.table({"n": [math.nan], "t": ["y"]})).count == 0


def test_rows_in_neither_part_are_not_compared(tmp_path: Path) -> None:
    paths = _write(tmp_path, pa.table({"x": [1, 1, 1, 2]}))

    found = shared_in_files(paths, np.array([False, False, False, True]), np.array([False, True, False, False]))

    assert found.count == 0


def test_at_most_twenty_are_named(tmp_path: Path) -> None:
    paths = _write(tmp_path, pa.table({"x": [7] * 100}))
    holdout = np.arange(100) >= 50

    found = shared_in_files(paths, ~holdout, holdout)

    assert (found.count, len(found.first)) == (50, 20)
    assert (found.first[0].holdout_row, found.first[0].train_row) == (50, 0)


def test_wide_tables_do_not_overflow_and_stay_exact() -> None:
    rng = np.random.default_rng(3)
    columns = {f"c{number}": rng.integers(0, 1 << 40, 2000) for number in range(30)}
    train = pa.table(columns)
    holdout = pa.table(
        {name: np.concatenate((values[:5], values[5:10] + (name == "c29"))) for name, values in columns.items()}
    )

    assert [pair.holdout_row for pair in shared_between(train, holdout).first] == [0, 1, 2, 3, 4]


def test_tables_without_a_column_in_common_cannot_be_compared() -> None:
    with pytest.raises(Invalid, match="share no column"):
        shared_between(pa.table({"a": [1]}), pa.table({"b": [1]}))
    with pytest.raises(Invalid, match="not both tables have 'b'"):
        shared_between(pa.table({"a": [1]}), pa.table({"a": [1], "b": [1]}), ["b"])


CELLS = st.tuples(
    st.sampled_from([None, 0, 1]), st.sampled_from([None, 0.0, -0.0, 1.5, math.nan]), st.sampled_from([None, "", "a"])
)


@given(train=st.lists(CELLS, min_size=1, max_size=12), holdout=st.lists(CELLS, min_size=1, max_size=12))
@settings(max_examples=200, deadline=None)
def test_shared_rows_are_those_that_comparing_each_pair_finds(train: list[Any], holdout: list[Any]) -> None:
    def table(rows: list[Any]) -> pa.Table:
        kinds = (pa.int64(), pa.float64(), pa.string())
        return pa.table({str(n): pa.array([row[n] for row in rows], kind) for n, kind in enumerate(kinds)})

    def plain(row: Any) -> Any:
        return tuple("nan" if value != value else value for value in row)

    known = [plain(row) for row in train]
    expected = [(n, known.index(plain(row))) for n, row in enumerate(holdout) if plain(row) in known]

    found = shared_between(table(train), table(holdout))

    assert [(pair.holdout_row, pair.train_row) for pair in found.first] == expected
    assert found.count == len(expected)
