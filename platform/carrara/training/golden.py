"""Rows that a release must answer alike for ever: real ones of the holdout, and made ones at the edges."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from carrara.contracts.contract import ColumnType, InputColumn, ModelContract
from carrara.inference.wire_values import wire_columns
from carrara.kernel.errors import CarraraError

MAX_EDGE_ROWS = 300
UNSEEN = "(never seen in training)"
_ARROW = {
    ColumnType.INTEGER: pa.int64(),
    ColumnType.NUMBER: pa.float64(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.TEXT: pa.string(),
    ColumnType.TIMESTAMP: pa.string(),
    ColumnType.DATE: pa.string(),
}

Row = Mapping[str, Any]
Predict = Callable[[Mapping[str, list[Any]]], Mapping[str, list[Any]]]


def golden_rows(drawn: pd.DataFrame, contract: ModelContract) -> tuple[list[Row], list[tuple[str, Row]]]:
    """The rows that were drawn from the holdout, and edge rows, each with what is at the edge; values as requests carry
    them."""
    columns = wire_columns(drawn, contract)
    real: list[Row] = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    base = real[0] if real else dict(contract.example or {})
    edges: list[tuple[str, Row]] = [(f"{name} {what}", {**base, name: value}) for name, what, value in _edges(contract)]
    nullable = {column.name: None for column in contract.inputs if column.nullable}
    if len(nullable) > 1:
        edges.insert(0, ("every nullable column null", {**base, **nullable}))
    return real, edges[:MAX_EDGE_ROWS]


def answerable(edges: list[tuple[str, Row]], predict: Predict) -> tuple[list[Row], list[str]]:
    """The edge rows that the model answers, and a note on each that it cannot: a fact to know before it serves."""
    rows, notes = [], []
    for what, row in edges:
        try:
            predict({name: [value] for name, value in row.items()})
        except CarraraError as error:
            notes.append(f"cannot answer a row with {what}: {error.message}"[:300])
        else:
            rows.append(row)
    return rows, notes


def write_rows(rows: list[Row], contract: ModelContract, path: Path) -> None:
    """A Parquet file [rows, inputs]; times as ISO 8601 text."""
    schema = pa.schema([(column.name, _ARROW[column.type]) for column in contract.inputs])
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), path)


def _edges(contract: ModelContract) -> Iterator[tuple[str, str, Any]]:
    for column in contract.inputs:
        if column.nullable:
            yield column.name, "null", None
    for column in contract.inputs:
        if column.type is ColumnType.TEXT:
            yield column.name, "unseen", UNSEEN
            yield column.name, "empty", ""
    for column in contract.inputs:
        for value in _extremes(column):
            yield column.name, f"= {value:g}", value


def _extremes(column: InputColumn) -> Iterator[int | float]:
    """The ends of the range that training saw, and one range beyond each."""
    if column.minimum is None or column.maximum is None:
        return
    reach = column.maximum - column.minimum or 1.0
    for value in (column.minimum, column.maximum, column.minimum - reach, column.maximum + reach):
        yield int(value) if column.type is ColumnType.INTEGER else value
