"""Checking one column of a request against its type, value by value, and giving the values their canonical form."""

import math
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

from carrara.contracts.contract import ColumnType, InputColumn
from carrara.kernel.errors import Invalid, Issue

MAX_ISSUES = 20
_INT64 = range(-(1 << 63), 1 << 63)
_NULL = type(None)
_PLAIN: dict[ColumnType, frozenset[type]] = {
    ColumnType.INTEGER: frozenset({int}),
    ColumnType.NUMBER: frozenset({float}),
    ColumnType.BOOLEAN: frozenset({bool}),
    ColumnType.TEXT: frozenset({str}),
}
_KIND_NAMES: dict[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "text",
    list: "list",
    dict: "object",
    _NULL: "null",
}


class Issues:
    """The faults of one request: the first `MAX_ISSUES` in full, the rest counted."""

    def __init__(self) -> None:
        self._listed: list[Issue] = []
        self._count = 0

    def add(self, code: str, *, column: str, row: int | None, expected: str, got: str) -> None:
        self._count += 1
        if len(self._listed) < MAX_ISSUES:
            name = shown(column)
            where = f"column {name}" if row is None else f"row {row}, column {name}"
            facts = {"column": name, "row": row, "expected": expected, "got": got}
            self._listed.append(Issue(where, f"expected {expected}, got {got}", code, facts))

    def raise_any(self) -> None:
        """`Invalid` if there was any; its code is that of the first."""
        if not self._listed:
            return
        first, rest = self._listed[0], self._count - len(self._listed)
        more = f" (and {self._count - 1} more)" if self._count > 1 else ""
        raise Invalid(
            f"{first.where}: {first.message}{more}",
            code=first.code,
            issues=self._listed,
            issue_count=self._count,
            issues_not_listed=rest,
        )


def checked(column: InputColumn, values: list[Any], issues: Issues, *, look_for_non_finite: bool) -> list[Any]:
    """The values as the runtimes get them: numbers as float, 1.0 in an integer column as 1, times in one ISO form.

    Faults go to `issues`; the list is then of no use.
    """
    kinds = set(map(type, values))
    if column.nullable:
        kinds.discard(_NULL)
    plain = _PLAIN.get(column.type)
    if plain is not None and kinds <= plain and not (look_for_non_finite and float in kinds):
        if column.type is not ColumnType.INTEGER:
            return values
        if not kinds or all(value is None or value in _INT64 for value in values):
            return values
    convert = _CONVERT[column.type]
    expected = str(column.type) + (" or null" if column.nullable else "")
    converted: list[Any] = []
    for row, value in enumerate(values):
        if value is None and column.nullable:
            converted.append(None)
            continue
        try:
            converted.append(convert(value))
        except _Misfit as misfit:
            issues.add(misfit.code, column=column.name, row=row, expected=expected, got=misfit.got)
    return converted


def shown(value: Any) -> str:
    """A value or a name as an error shows it: at most 80 characters."""
    text = value if isinstance(value, str) else repr(value)[:81]
    text = text.encode("utf-8", "replace").decode() if not text.isascii() else text
    return text if len(text) <= 80 else text[:77] + "..."


class _Misfit(Exception):  # noqa: N818  # never leaves this module
    def __init__(self, code: str, got: str) -> None:
        self.code = code
        self.got = got


def _wrong(value: Any) -> _Misfit:
    kind = _KIND_NAMES.get(type(value), type(value).__name__)
    if value is None:
        return _Misfit("null_value", "null")
    if isinstance(value, (list, dict)):
        return _Misfit("wrong_type", kind)
    return _Misfit("wrong_type", f"{kind} {shown(value)!r}" if isinstance(value, str) else f"{kind} {shown(value)}")


def _integer(value: Any) -> int:
    if type(value) is float:
        _finite(value)
        if not value.is_integer():
            raise _wrong(value)
        value = int(value)
    if type(value) is not int:
        raise _wrong(value)
    if value not in _INT64:
        raise _Misfit("out_of_range", f"{shown(value)}, beyond 64 bits")
    return value


def _number(value: Any) -> float:
    if type(value) is float:
        return _finite(value)
    if type(value) is not int:
        raise _wrong(value)
    try:
        return float(value)
    except OverflowError as error:
        raise _Misfit("non_finite", f"{shown(value)}, beyond the largest number") from error


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise _Misfit("non_finite", "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity")
    return value


def _exactly(kind: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise _wrong(value)
        return value

    return check


def _timestamp(value: Any) -> str:
    if type(value) is not str:
        raise _wrong(value)
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError) as error:
        raise _Misfit("wrong_type", f"text {shown(value)!r}, which is no ISO 8601 time") from error
    return moment.isoformat()


def _date(value: Any) -> str:
    if type(value) is not str:
        raise _wrong(value)
    try:
        if len(value) != 10 or value[4] != "-":
            raise ValueError(value)
        return date.fromisoformat(value).isoformat()
    except ValueError as error:
        raise _Misfit("wrong_type", f"text {shown(value)!r}, which is no date YYYY-MM-DD") from error


_CONVERT: dict[ColumnType, Callable[[Any], Any]] = {
    ColumnType.INTEGER: _integer,
    ColumnType.NUMBER: _number,
    ColumnType.BOOLEAN: _exactly(bool),
    ColumnType.TEXT: _exactly(str),
    ColumnType.TIMESTAMP: _timestamp,
    ColumnType.DATE: _date,
}
