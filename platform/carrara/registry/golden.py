"""The golden set: rows with answers that a release must give again, wherever it is loaded (D4). Pure."""

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from carrara.contracts.contract import ColumnType, InputColumn, ModelContract

MAX_ROWS = 500  # training proposes up to that many
RELATIVE_TOLERANCE = 1e-8
_UNSEEN_TEXT = "carrara-unseen"

Columns = dict[str, list[Any]]


def as_request(columns: Mapping[str, Sequence[Any]], contract: ModelContract) -> Columns:
    """The contract's columns as JSON holds them in a request, at most `MAX_ROWS` rows.

    Rows with a null where none may be are left out, as serving would refuse them. KeyError names a column that is not
    there and may not be absent.
    """
    length = len(next(iter(columns.values()), []))
    plain = {
        column.name: [_json_value(value) for value in columns[column.name]]
        if column.name in columns or not column.nullable
        else [None] * length
        for column in contract.inputs
    }
    strict = [column.name for column in contract.inputs if not column.nullable]
    kept = [row for row in range(length) if all(plain[name][row] is not None for name in strict)][:MAX_ROWS]
    return {column.name: [_typed(column, plain[column.name][row]) for row in kept] for column in contract.inputs}


def edge_rows(columns: Columns, contract: ModelContract) -> Columns:
    """Variants of the first row, one column at a time: missing, zero, negative, large, a text never seen."""
    first = {name: values[0] for name, values in columns.items()}
    variants = [{**first, column.name: value} for column in contract.inputs for value in _edges(column)]
    return {name: [variant[name] for variant in variants[:MAX_ROWS]] for name in columns}


def invented_row(contract: ModelContract) -> Columns:
    """One row of plausible values, for a model that brought no example."""
    return {column.name: [_EXAMPLES[column.type]] for column in contract.inputs}


def tolerance_for(outputs: Mapping[str, Sequence[Any]]) -> float:
    """The absolute tolerance for these answers: 1e-8 of the largest number among them, or of 1."""
    largest = max((abs(number) for values in outputs.values() for number in _numbers(values)), default=1.0)
    return RELATIVE_TOLERANCE * max(1.0, largest)


def first_difference(
    one: Mapping[str, Sequence[Any]], other: Mapping[str, Sequence[Any]], tolerance: float
) -> tuple[str, int] | None:
    """The output and the row where two answers differ by more than `tolerance`; (name, -1) if one lacks the output."""
    for name in sorted({*one, *other}):
        if name not in one or name not in other or len(one[name]) != len(other[name]):
            return name, -1
        for row, (left, right) in enumerate(zip(one[name], other[name], strict=True)):
            if not _same(left, right, tolerance):
                return name, row
    return None


def take_rows(columns: Columns, rows: Sequence[int]) -> Columns:
    return {name: [values[row] for row in rows] for name, values in columns.items()}


def joined(one: Columns, other: Columns) -> Columns:
    """The rows of both; they have the same columns."""
    return {name: [*values, *other[name]] for name, values in one.items()}


def row_count(columns: Mapping[str, Sequence[Any]]) -> int:
    return len(next(iter(columns.values()), []))


def _same(left: Any, right: Any, tolerance: float) -> bool:
    if _is_number(left) and _is_number(right):
        return bool(abs(left - right) <= tolerance)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(_same(a, b, tolerance) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key], tolerance) for key in left)
    return type(left) is type(right) and bool(left == right)


def _numbers(value: Any) -> list[float]:
    if _is_number(value):
        return [float(value)]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [number for item in value for number in _numbers(item)]
    return []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _json_value(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value


def _typed(column: InputColumn, value: Any) -> Any:
    """A whole number that came as a float (an integer column with gaps) is an integer again."""
    if column.type is ColumnType.INTEGER and isinstance(value, float) and value.is_integer():
        return int(value)
    if column.type is ColumnType.TEXT and value is not None and not isinstance(value, str):
        return str(value)
    return value


def _edges(column: InputColumn) -> list[Any]:
    missing = [None] if column.nullable else []
    match column.type:
        case ColumnType.INTEGER:
            return [*missing, 0, -1, 1_000_000]
        case ColumnType.NUMBER:
            return [*missing, 0.0, -1.0, 1e6]
        case ColumnType.BOOLEAN:
            return [*missing, False, True]
        case ColumnType.TEXT:
            return [*missing, "", _UNSEEN_TEXT]
        case ColumnType.TIMESTAMP:
            return [*missing, "1970-01-01T00:00:00", "2100-01-01T00:00:00"]
        case ColumnType.DATE:
            return [*missing, "1970-01-01", "2100-01-01"]


_EXAMPLES: Mapping[ColumnType, Any] = {
    ColumnType.INTEGER: 1,
    ColumnType.NUMBER: 1.0,
    ColumnType.BOOLEAN: True,
    ColumnType.TEXT: "a",
    ColumnType.TIMESTAMP: "2026-01-01T00:00:00",
    ColumnType.DATE: "2026-01-01",
}
