"""From stored rows to features and labels: the one way that training and evaluation read the rows of a snapshot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from carrara.contracts.contract import ColumnType
from carrara.contracts.datasets import StoredType
from carrara.contracts.training import Target, Task
from carrara.datasets.splits import AnySplit, part_positions
from carrara.kernel.errors import Invalid, Issue

Labels: TypeAlias = npt.NDArray[Any]

COLUMN_TYPES = {
    StoredType.INTEGER: ColumnType.INTEGER,
    StoredType.NUMBER: ColumnType.NUMBER,
    StoredType.BOOLEAN: ColumnType.BOOLEAN,
    StoredType.TEXT: ColumnType.TEXT,
    StoredType.TIMESTAMP: ColumnType.TIMESTAMP,
    StoredType.TIMESTAMP_UTC: ColumnType.TIMESTAMP,
    StoredType.DATE: ColumnType.DATE,
}


@dataclass(frozen=True)
class LabelledRows:
    """Rows that have a label. `labels` [rows] is bool, int64, float64 or text; `positions` count from 0 in the
    snapshot; `dropped` rows had a null target."""

    table: pa.Table
    labels: Labels
    positions: npt.NDArray[np.int64]
    dropped: int


@dataclass(frozen=True)
class SnapshotFiles:
    """The Parquet files of a snapshot, in their order, on this machine's disk."""

    files: Sequence[Path]

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of these columns."""
        wanted = None if columns is None else list(dict.fromkeys(columns))
        return pa.concat_tables([pq.read_table(file, columns=wanted, partitioning=None) for file in self.files])

    def names(self) -> list[str]:
        """The columns that there are."""
        return list(pq.read_schema(self.files[0]).names)

    def take(self, positions: npt.NDArray[np.int64]) -> pa.Table:
        """Every column of the rows at these positions."""
        return self.read().take(pa.array(positions))

    def labelled(self, columns: Sequence[str], *, target: Target, task: Task) -> LabelledRows:
        """All rows, with these columns and their labels."""
        table = self.read([*columns, target.column])
        return label_rows(table, np.arange(len(table)), target, task)

    def labelled_parts(
        self, columns: Sequence[str], *, split: AnySplit, target: Target, task: Task
    ) -> tuple[LabelledRows, LabelledRows]:
        """The training part and the holdout, with these columns and their labels."""
        table = self.read([*columns, target.column, split.column])
        train, holdout = (
            label_rows(table.take(pa.array(rows)), rows, target, task) for rows in part_positions(table, split)
        )
        return train, holdout


def label_rows(table: pa.Table, positions: npt.NDArray[np.int64], target: Target, task: Task) -> LabelledRows:
    """The rows of `table` whose target is known; `Invalid(bad_target)` when it cannot be a label of this task."""
    column = table.column(target.column).combine_chunks()
    kept = known_labels(column)
    known = pa.array(kept)
    labels = _labels(column.filter(known), target, task)
    dropped = len(kept) - int(kept.sum())
    return LabelledRows(table.filter(known) if dropped else table, labels, positions[kept], dropped)


def known_labels(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Which values of a target can be labels: neither null nor NaN."""
    known = pc.is_null(column, nan_is_null=True)
    array = known.combine_chunks() if isinstance(known, pa.ChunkedArray) else known
    return ~np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.bool_)


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """The table as pandas has it: texts as `str`, dates as midnight; ready for `inference.frames.conform`."""
    frame: pd.DataFrame = table.to_pandas(date_as_object=False)
    return frame


def check_target_type(target: Target, task: Task, stored: StoredType) -> Issue | None:
    """What is wrong with predicting a column of this type, or None."""
    is_number = stored in (StoredType.INTEGER, StoredType.NUMBER)
    if target.greater_than is not None and not is_number:
        what = f"greater_than needs numbers, but column {target.column!r} is {stored.value}"
        return Issue("spec.target.greater_than", what, code="bad_target")
    if task == "regression" and not is_number:
        what = f"column {target.column!r} is {stored.value}; regression needs numbers"
        return Issue("spec.target", what, code="bad_target")
    if task == "classification" and stored in (StoredType.TIMESTAMP, StoredType.TIMESTAMP_UTC, StoredType.DATE):
        return Issue("spec.target", f"column {target.column!r} is a {stored.value}, not a class", code="bad_target")
    return None


def _labels(known: pa.Array, target: Target, task: Task) -> Labels:
    if target.greater_than is not None:
        return np.asarray(pc.greater(known, target.greater_than).to_numpy(zero_copy_only=False), dtype=np.bool_)
    values = known.to_numpy(zero_copy_only=False)
    if task == "regression":
        numbers = np.asarray(values, dtype=np.float64)
        if not np.isfinite(numbers).all():
            raise _bad(f"target {target.column!r} holds Infinity; remove these rows from the dataset")
        return numbers
    if pa.types.is_boolean(known.type):
        return np.asarray(values, dtype=np.bool_)
    if pa.types.is_integer(known.type):
        return np.asarray(values, dtype=np.int64)
    if pa.types.is_floating(known.type):
        if not (np.isfinite(values).all() and (values == np.round(values)).all()):
            raise _bad(
                f"target {target.column!r} has fractions, so it is no class; set task: regression, or greater_than"
            )
        return np.asarray(values, dtype=np.float64)
    return np.asarray(values.tolist(), dtype=np.str_)


def _bad(message: str) -> Invalid:
    return Invalid(message, code="bad_target", issues=[Issue("spec.target", message, code="bad_target")])
