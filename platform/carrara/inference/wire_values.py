"""From a frame that a model takes back to the values that a request carries: the other way of `frames.to_frame`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from carrara.contracts.contract import ColumnType, InputColumn, ModelContract
from carrara.kernel.errors import Invalid


def wire_columns(frame: pd.DataFrame, contract: ModelContract) -> dict[str, list[Any]]:
    """Columns of plain JSON values: missing is None, times are ISO 8601 text in UTC. `Invalid` for Infinity, which
    no request can carry."""
    return {column.name: _values(frame[column.name], column) for column in contract.inputs}


def wire_row(frame: pd.DataFrame, contract: ModelContract, row: int) -> dict[str, Any]:
    """One row, by position."""
    return {name: values[0] for name, values in wire_columns(frame.iloc[[row]], contract).items()}


def _values(series: "pd.Series[Any]", column: InputColumn) -> list[Any]:
    if column.type is ColumnType.NUMBER and np.isinf(series.to_numpy(dtype=np.float64)).any():
        raise Invalid(f"column {column.name!r} holds Infinity, which no request can carry", code="non_finite")
    plain = _PLAIN[column.type]
    missing = series.isna().tolist()
    return [None if gone else plain(value) for value, gone in zip(series.tolist(), missing, strict=True)]


_PLAIN: Mapping[ColumnType, Callable[[Any], Any]] = {
    ColumnType.INTEGER: int,
    ColumnType.NUMBER: float,
    ColumnType.BOOLEAN: bool,
    ColumnType.TEXT: str,
    ColumnType.TIMESTAMP: lambda at: f"{at.isoformat()}Z",
    ColumnType.DATE: lambda at: at.date().isoformat(),
}
