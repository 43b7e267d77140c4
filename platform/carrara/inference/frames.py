"""The one way from columns to the pandas frame that a model sees: in training, in evaluation and when it serves.

| contract | not nullable | nullable |
|---|---|---|
| integer | int64 | float64, missing is NaN |
| number | float64 | float64, missing is NaN |
| boolean | bool | object, missing is None |
| text | str | str, missing is NaN |
| timestamp, date | datetime64[us], naive, in UTC | the same, missing is NaT |

A dtype never depends on the values of one request: a row alone and the same row among others give one answer.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pandas as pd

from carrara.contracts.contract import ColumnType, InputColumn, ModelContract
from carrara.kernel.errors import Invalid, Issue


def to_frame(columns: Mapping[str, Sequence[Any]], contract: ModelContract) -> pd.DataFrame:
    """A frame [rows, contract.inputs] in the contract's order and dtypes; columns outside the contract are left out.

    Values are what JSON gives, or Python's and pandas' own times. A nullable column may be absent. `Invalid` names
    the column that is missing, of another length, or holds a value that does not fit its dtype.
    """
    rows = _row_count(columns)
    series = {column.name: _series(column, columns.get(column.name), rows) for column in contract.inputs}
    return pd.DataFrame(series, index=pd.RangeIndex(rows))


def conform(frame: pd.DataFrame, contract: ModelContract) -> pd.DataFrame:
    """The same for a frame, such as one read from Parquet: train on this, and serving sees what training saw."""
    return to_frame({str(name): cast("Sequence[Any]", frame[name]) for name in frame.columns}, contract)


def _row_count(columns: Mapping[str, Sequence[Any]]) -> int:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {length}" for name, length in list(lengths.items())[:20])
        raise Invalid(f"columns must be equally long, got rows: {shown}", code="ragged_columns")
    return next(iter(lengths.values()), 0)


def _series(column: InputColumn, values: Sequence[Any] | None, rows: int) -> "pd.Series[Any]":
    if values is None:
        if not column.nullable:
            raise _bad(column, "is missing", "missing_column")
        values = [None] * rows
    source = values.reset_index(drop=True) if isinstance(values, pd.Series) else pd.Series(list(values), dtype=object)
    missing = source.isna()
    if not column.nullable and bool(missing.any()):
        raise _bad(column, f"is null in row {int(missing.to_numpy().argmax())}, and is not nullable", "null_value")
    try:
        return _cast(column, source, missing)
    except (TypeError, ValueError, OverflowError) as error:
        raise _bad(column, f"is no {column.type}: {error}", "wrong_type") from error


def _cast(column: InputColumn, source: "pd.Series[Any]", missing: "pd.Series[bool]") -> "pd.Series[Any]":
    match column.type:
        case ColumnType.INTEGER:
            return source.astype("float64" if column.nullable else "int64")
        case ColumnType.NUMBER:
            return source.astype("float64")
        case ColumnType.BOOLEAN:
            if not column.nullable:
                return source.astype("bool")
            return source.astype("object").where(~missing, None)
        case ColumnType.TEXT:
            return source.astype("str")
        case ColumnType.TIMESTAMP | ColumnType.DATE:
            return _times(source)


def _times(source: "pd.Series[Any]") -> "pd.Series[Any]":
    if source.dtype == object:
        source = pd.to_datetime(source, utc=True, format="ISO8601")
    aware = source.dt.tz_localize("UTC") if source.dt.tz is None else source
    return cast("pd.Series[Any]", aware.dt.tz_convert("UTC").dt.tz_localize(None).dt.as_unit("us"))


def _bad(column: InputColumn, what: str, code: str) -> Invalid:
    issue = Issue(where=f"column {column.name}", message=f"{what}; expected {column.type}", code=code)
    return Invalid(f"column {column.name!r} {what}", code=code, issues=[issue])
