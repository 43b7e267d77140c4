"""The columns of a stored table: their types, in our words and in Arrow's, and what may be a name."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from carrara.contracts.datasets import StoredType
from carrara.kernel.errors import Invalid, Issue

MAX_COLUMNS = 2000
MAX_NAME_LENGTH = 128

ARROW_TYPES: dict[StoredType, pa.DataType] = {
    StoredType.INTEGER: pa.int64(),
    StoredType.NUMBER: pa.float64(),
    StoredType.BOOLEAN: pa.bool_(),
    StoredType.TEXT: pa.string(),
    StoredType.TIMESTAMP: pa.timestamp("us"),
    StoredType.TIMESTAMP_UTC: pa.timestamp("us", "UTC"),
    StoredType.DATE: pa.date32(),
}
TIMES = frozenset({StoredType.TIMESTAMP, StoredType.TIMESTAMP_UTC, StoredType.DATE})


@dataclass(frozen=True)
class Column:
    """A column of a stored table."""

    name: str
    type: StoredType


def arrow_schema(columns: Iterable[Column]) -> pa.Schema:
    return pa.schema([(column.name, ARROW_TYPES[column.type]) for column in columns])


def columns_of(schema: pa.Schema) -> tuple[Column, ...]:
    """The columns of a table that we stored; any other Arrow type is a `KeyError`."""
    return tuple(Column(field.name, _BY_ARROW[field.type]) for field in schema)


def check_names(names: Sequence[str], where: str) -> None:
    """`Invalid(bad_column_name)`, with an issue for each fault, unless every name is printable, 1 to 128 long, unique.

    Names that look alike, written with other code points (Unicode NFC), count as one.
    """
    if not names:
        raise Invalid(f"{where}: there are no columns", code="no_columns")
    if len(names) > MAX_COLUMNS:
        raise Invalid(f"{where}: {len(names)} columns; at most {MAX_COLUMNS} are possible", code="too_many_columns")
    issues = []
    first: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        fault = _fault(name) or _repeated(first, name, number)
        if fault:
            facts = {"column": number}
            issues.append(Issue(f"{where}, column {number}", fault, code="bad_column_name", facts=facts))
    if issues:
        more = f" (and {len(issues) - 1} more)" if len(issues) > 1 else ""
        raise Invalid(f"{issues[0].where}: {issues[0].message}{more}", code="bad_column_name", issues=issues)


def _fault(name: str) -> str | None:
    if not name.strip():
        return "the name is empty; every column needs one"
    if len(name) > MAX_NAME_LENGTH:
        return f"the name {name[:40] + '...'!r} has {len(name)} characters; at most {MAX_NAME_LENGTH} are possible"
    if not name.isprintable():
        return f"the name {name!r} holds characters that cannot be shown"
    return None


def _repeated(first: dict[str, int], name: str, number: int) -> str | None:
    earlier = first.setdefault(unicodedata.normalize("NFC", name), number)
    return None if earlier == number else f"the name {name!r} is that of column {earlier} too; names must be unique"


_BY_ARROW = {arrow: stored for stored, arrow in ARROW_TYPES.items()}
