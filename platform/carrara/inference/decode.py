"""From the body of a prediction request to columns that fit the contract, or to the exact list of what does not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from carrara.contracts.contract import ModelContract
from carrara.inference.body import parse
from carrara.inference.columns import Issues, checked, shown
from carrara.kernel.errors import Invalid, Issue, TooLarge

_FORMS = ("instances", "columns")


@dataclass(frozen=True)
class Batch:
    """Rows by column, in the contract's order and types. `ignored`: values of extra columns that were left out."""

    columns: dict[str, list[Any]]
    rows: int
    ignored: int = 0


class RequestDecoder:
    """Reads requests for one contract. Holds nothing of a request; safe to share."""

    def __init__(self, contract: ModelContract, *, max_rows: int) -> None:
        self._contract = contract
        self._max_rows = max_rows
        self._names = frozenset(column.name for column in contract.inputs)

    def decode(self, body: bytes) -> Batch:
        """`{"instances": [{column: value}, ...]}` or `{"columns": {column: [value, ...]}}` as a batch.

        `MalformedBody` if it is no JSON, `TooLarge` over the row limit, `Invalid` with an issue for each value that
        does not fit: `missing_column`, `extra_column`, `wrong_type`, `null_value`, `non_finite`, `out_of_range`.
        """
        parsed = parse(body)
        form, content = _form_of(parsed.document)
        if form == "columns":
            return self.decode_columns(content, look_for_non_finite=parsed.has_non_finite)
        check_row_count(len(content), self._max_rows)
        return self._decode_rows(content, look_for_non_finite=parsed.has_non_finite)

    def decode_columns(self, content: Any, *, look_for_non_finite: bool = True) -> Batch:
        """The same for columns that are already values, such as those of a golden set."""
        if not isinstance(content, Mapping) or not all(isinstance(values, list) for values in content.values()):
            raise _bad_form("columns: expected an object of lists, one list for each column")
        lengths = {len(values) for values in content.values()}
        if len(lengths) > 1:
            found = ", ".join(f"{shown(name)} {len(values)}" for name, values in list(content.items())[:20])
            raise _bad_form(f"columns: expected lists of one length, got rows: {found}")
        rows = next(iter(lengths), 0)
        check_row_count(rows, self._max_rows)
        issues = Issues()
        extra = [name for name in content if name not in self._names]
        ignored = self._judge_extra(dict.fromkeys(extra, 0), len(extra) * rows, issues)
        columns = {}
        for column in self._contract.inputs:
            values = content.get(column.name)
            if values is None:
                columns[column.name] = [None] * rows
                if not column.nullable and rows:
                    issues.add(
                        "missing_column", column=column.name, row=0, expected=str(column.type), got="no such column"
                    )
                continue
            columns[column.name] = checked(column, values, issues, look_for_non_finite=look_for_non_finite)
        issues.raise_any()
        return Batch(columns, rows, ignored)

    def _decode_rows(self, rows: Sequence[Any], *, look_for_non_finite: bool) -> Batch:
        for position, row in enumerate(rows):
            if not isinstance(row, dict):
                raise _bad_form(f"instances: expected objects, row {position} is {shown(row)}")
        issues = Issues()
        extra: dict[str, int] = {}
        ignored = 0
        for position, row in enumerate(rows):
            if not row.keys() <= self._names:
                unknown = row.keys() - self._names
                ignored += len(unknown)
                for name in sorted(unknown):
                    extra.setdefault(name, position)
        ignored = self._judge_extra(extra, ignored, issues)
        columns: dict[str, list[Any]] = {}
        for column in self._contract.inputs:
            name = column.name
            if column.nullable:
                values = [row.get(name) for row in rows]
            elif missing := [position for position, row in enumerate(rows) if name not in row]:
                expected = str(column.type)
                for position in missing:
                    issues.add("missing_column", column=name, row=position, expected=expected, got="no such column")
                continue
            else:
                values = [row[name] for row in rows]
            columns[name] = checked(column, values, issues, look_for_non_finite=look_for_non_finite)
        issues.raise_any()
        return Batch(columns, len(rows), ignored)

    def _judge_extra(self, first_rows: Mapping[str, int], values: int, issues: Issues) -> int:
        if self._contract.extra_columns == "ignore":
            return values
        for name, position in first_rows.items():
            issues.add("extra_column", column=name, row=position, expected="no such column", got="a value")
        return 0


def _form_of(document: Any) -> tuple[str, Any]:
    if not isinstance(document, dict):
        raise _bad_form('expected an object such as {"instances": [{"column": value}]}')
    forms = [form for form in _FORMS if form in document]
    unknown = sorted(set(document) - set(_FORMS))
    if len(forms) != 1 or unknown:
        found = ", ".join(map(shown, [*forms, *unknown][:10])) or "none"
        raise _bad_form(f'expected one key, "instances" or "columns"; got {found}')
    form = forms[0]
    if form == "instances" and not isinstance(document[form], list):
        raise _bad_form("instances: expected a list of objects, one for each row")
    return form, document[form]


def _bad_form(message: str) -> Invalid:
    return Invalid(message, code="bad_form", issues=[Issue("body", message, "bad_form")])


def count_rows(body: bytes, max_rows: int) -> int:
    """How many rows a request has, when there is no contract to check them against."""
    form, content = _form_of(parse(body).document)
    if form == "columns":
        content = next(iter(content.values()), []) if isinstance(content, Mapping) else []
        if not isinstance(content, list):
            raise _bad_form("columns: expected an object of lists, one list for each column")
    check_row_count(len(content), max_rows)
    return len(content)


def check_row_count(rows: int, max_rows: int) -> None:
    """`TooLarge` when a request has too many."""
    if rows > max_rows:
        raise TooLarge(
            f"{rows} rows; at most {max_rows} in one request. Send them in several requests,"
            " or score a file in a batch job",
            code="too_many_rows",
            rows=rows,
            limit=max_rows,
        )
