"""Rows that are on both sides: a model has seen the answer to those of its holdout. Found exactly, never by hash.

Every row gets a number such that two rows have the same one if and only if they are equal in every column looked at:
column by column, each value becomes its index among the column's different values, and (row's number so far, index)
becomes the next number. Null equals null, NaN equals NaN, 0.0 equals -0.0.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from carrara.contracts.datasets import SharedPair, SharedRows
from carrara.datasets.splits import Mask, Positions
from carrara.kernel.errors import Invalid

MAX_NAMED = 20
_MOST = 1 << 62

NamedColumns = Iterable[tuple[str, pa.ChunkedArray]]


def shared_in_files(
    paths: Sequence[Path], train: Mask, holdout: Mask, identity: Sequence[str] | None = None
) -> SharedRows:
    """Rows shared by the two parts of one stored table, over all columns or those of `identity`.

    Reads a column at a time. Positions count from 0 in the table.
    """
    kept = np.flatnonzero(train | holdout)
    names = list(identity or pq.read_schema(paths[0]).names)
    columns = _columns_of_files(paths, names, pa.array(kept))
    return _shared(columns, kept[train[kept]], kept[holdout[kept]], train[kept])


def shared_between(train: pa.Table, holdout: pa.Table, identity: Sequence[str] | None = None) -> SharedRows:
    """Rows of `holdout` that `train` has too, over the columns of `identity` or those that both tables have.

    Positions count from 0 in their own table. `Invalid` if there is no column to compare.
    """
    names = list(identity) if identity else [name for name in holdout.column_names if name in train.column_names]
    missing = [name for name in names if name not in train.column_names or name not in holdout.column_names]
    if missing or not names:
        what = f"not both tables have {', '.join(map(repr, missing))}" if missing else "the tables share no column"
        raise Invalid(f"rows cannot be compared: {what}", code="not_comparable")
    columns = (
        (name, pa.chunked_array([*train[name].chunks, *holdout[name].cast(train[name].type).chunks])) for name in names
    )
    is_train = np.arange(train.num_rows + holdout.num_rows) < train.num_rows
    return _shared(columns, np.arange(train.num_rows), np.arange(holdout.num_rows), is_train)


def _columns_of_files(
    paths: Sequence[Path], names: Sequence[str], kept: pa.Array
) -> Iterator[tuple[str, pa.ChunkedArray]]:
    for name in names:
        chunks = [pq.read_table(path, columns=[name], partitioning=None).column(name) for path in paths]
        whole = pa.chunked_array([chunk for column in chunks for chunk in column.chunks], chunks[0].type)
        yield name, whole.take(kept)


def _shared(columns: NamedColumns, train_rows: Positions, holdout_rows: Positions, is_train: Mask) -> SharedRows:
    """`is_train` tells of each row in `columns` on which side it is; the others belong to the holdout."""
    compared: list[str] = []
    numbers = np.zeros(is_train.size, dtype=np.int64)
    different = 1
    for name, column in columns:
        compared.append(name)
        codes, size = _codes(column)
        if different * size >= _MOST:
            numbers, different = _renumbered(numbers)
        numbers, different = numbers * size + codes, different * size
    train, holdout = numbers[is_train], numbers[~is_train]
    known, first = np.unique(train, return_index=True)
    place = np.minimum(np.searchsorted(known, holdout), max(known.size - 1, 0))
    found = np.flatnonzero(known[place] == holdout) if known.size else np.empty(0, dtype=np.int64)
    pairs = [
        SharedPair(holdout_row=int(holdout_rows[row]), train_row=int(train_rows[first[place[row]]]))
        for row in found[:MAX_NAMED]
    ]
    return SharedRows(count=int(found.size), compared=compared, first=pairs)


def _codes(column: pa.ChunkedArray) -> tuple[Positions, int]:
    """The index of each value among the column's different ones, 0 for null; and how many indices there are."""
    if pa.types.is_floating(column.type):
        column = pc.add(column, 0.0)  # -0.0 becomes 0.0
        column = pc.if_else(pc.is_nan(column), pa.scalar(float("nan")), column)
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes = encoded.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False) + 1
    return codes, len(encoded.dictionary) + 1


def _renumbered(numbers: Positions) -> tuple[Positions, int]:
    encoded = pa.array(numbers).dictionary_encode()
    dense: Positions = encoded.indices.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return dense, len(encoded.dictionary)
