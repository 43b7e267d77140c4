"""The profile and the schema of a stored table, a column at a time: memory holds one column at most."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from carrara.contracts.datasets import Category, ColumnProfile, ColumnSchema, StoredType, TableProfile
from carrara.datasets.columns import TIMES, Column
from carrara.datasets.profile_numbers import profile_numbers, profile_times
from carrara.datasets.profile_texts import TextCounts
from carrara.kernel.digests import Digest

_BATCH_ROWS = 65_536
MICROSECONDS_A_DAY = 86_400_000_000


class ProfiledTable:
    """The columns of a table with what was found in them."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._columns: list[ColumnProfile] = []
        self._categories: list[list[str] | None] = []

    def add(self, profile: ColumnProfile, categories: list[str] | None) -> None:
        self._columns.append(profile)
        self._categories.append(categories)

    @property
    def profile(self) -> TableProfile:
        return TableProfile(rows=self._rows, columns=self._columns)

    def schema(self, digests: Sequence[Digest]) -> list[ColumnSchema]:
        """What was seen, in short; `digests` of the columns, in order."""
        return [
            ColumnSchema(
                name=found.name,
                type=found.type,
                nullable=found.nulls > 0,
                minimum=found.minimum,
                maximum=found.maximum,
                categories=categories,
                digest=digest,
            )
            for found, categories, digest in zip(self._columns, self._categories, digests, strict=True)
        ]


def profile_parquet(path: Path, columns: Sequence[Column]) -> ProfiledTable:
    """The profile of a table that `ingest` wrote."""
    with pq.ParquetFile(path) as file:
        table = ProfiledTable(file.metadata.num_rows)
        for column in columns:
            table.add(*_profile_column(file, column))
    return table


def _profile_column(file: pq.ParquetFile, column: Column) -> tuple[ColumnProfile, list[str] | None]:
    rows = file.metadata.num_rows
    nulls = sum(values.null_count for values in _pieces(file, column))
    categories = None
    if column.type is StoredType.TEXT:
        counts = TextCounts()
        for values in _pieces(file, column):
            counts.see(values.drop_null())
        found, categories = counts.fields(), counts.categories()
    elif column.type is StoredType.BOOLEAN:
        found = _booleans(file, column)
    elif column.type in TIMES:
        found = profile_times(lambda: _numpy(file, column), rows - nulls, column.type)
    else:
        found = profile_numbers(lambda: _numpy(file, column), rows - nulls)
    return ColumnProfile(name=column.name, type=column.type, count=rows, nulls=nulls, **found), categories


def _booleans(file: pq.ParquetFile, column: Column) -> dict[str, Any]:
    true = false = 0
    for values in _pieces(file, column):
        yes = pc.sum(values).as_py() or 0
        true, false = true + yes, false + len(values) - values.null_count - yes
    counts = sorted((("true", true), ("false", false)), key=lambda item: -item[1])
    top = [Category(value=value, count=count) for value, count in counts if count]
    return {"distinct": len(top), "top": top, "other_rows": 0}


def _numpy(file: pq.ParquetFile, column: Column) -> Iterator[np.ndarray]:
    for values in _pieces(file, column):
        known = values.drop_null()
        if column.type is StoredType.DATE:
            yield known.cast(pa.int32()).to_numpy(zero_copy_only=False).astype(np.int64) * MICROSECONDS_A_DAY
        elif column.type in TIMES:
            yield known.cast(pa.int64()).to_numpy(zero_copy_only=False)
        else:
            yield known.to_numpy(zero_copy_only=False)


def _pieces(file: pq.ParquetFile, column: Column) -> Iterator[pa.Array]:
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=[column.name]):
        yield batch.column(column.name)  # by name: asking for `a` also gives `a.b`
