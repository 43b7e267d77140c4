"""Reading a CSV upload: its shape, then its types over the whole file, then its rows."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from carrara.contracts.datasets import IngestOptions, StoredType
from carrara.datasets.columns import Column, arrow_schema, check_names
from carrara.datasets.csv_scan import line_of_record, malformed, scan
from carrara.datasets.csv_types import EXPECTED, TypeGuess, convert, first_bad
from carrara.datasets.uploads import BLOCK_BYTES, UploadKind, blocks, damaged_compression, open_text
from carrara.kernel.errors import Invalid, Issue

_SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class CsvTable:
    """A CSV upload that has passed every check but those of declared types, which `batches` makes."""

    path: Path
    kind: UploadKind
    columns: tuple[Column, ...]
    options: IngestOptions
    max_text_bytes: int

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in their types; `Invalid(bad_value)` with line and column for one that its declared type refuses."""
        schema = arrow_schema(self.columns)
        nulls = pa.array(self.options.null_values, pa.string())
        row = 0
        for texts in _text_batches(self.path, self.kind, self.columns, self.options):
            arrays = []
            for column, values in zip(self.columns, texts.columns, strict=True):
                cleaned = values if column.type is StoredType.TEXT else _without(values, nulls)
                try:
                    arrays.append(convert(cleaned, column.type))
                except pa.ArrowInvalid as error:
                    raise self._bad_value(column, cleaned, row) from error
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
            row += texts.num_rows

    def _bad_value(self, column: Column, values: pa.Array, first_row: int) -> Invalid:
        index = first_bad(values, column.type)
        line = line_of_record(
            blocks(self.path, self.kind, max_bytes=self.max_text_bytes),
            [each.name for each in self.columns],
            delimiter=self.options.delimiter,
            record=first_row + index + 1,
        )
        value, expected = _shown(values[index].as_py()), EXPECTED[column.type]
        return malformed(
            line,
            repr(column.name),
            f"{value!r} is not {expected}; correct it, or declare another type",
            code="bad_value",
            value=value,
            expected=expected,
        )


def open_csv(
    path: Path, kind: UploadKind, options: IngestOptions, *, max_text_bytes: int, max_record_bytes: int
) -> CsvTable:
    """The table in a CSV file. `Invalid` with line and column for the first fault of its shape."""
    text = partial(blocks, path, kind, max_bytes=max_text_bytes)
    names = _header(next(text(), b""), options.delimiter)
    records = scan(text(), names, delimiter=options.delimiter, max_record_bytes=max_record_bytes)
    check_names(names, "line 1")
    _check_declared(names, options.types)
    if records < 2:
        raise Invalid("the file has a header and no rows", code="no_rows")
    columns = _with_types(path, kind, names, options)
    return CsvTable(path, kind, columns, options, max_text_bytes)


def _header(begin: bytes, delimiter: str) -> list[str]:
    """The names in the first record. What is wrong with its quotes or bytes, the scan tells better."""
    text = begin.decode("utf-8", errors="surrogateescape")
    try:
        names = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    except csv.Error as error:
        raise malformed(1, "1", f"the header cannot be read: {error}") from error
    if not names:
        raise malformed(1, "1", "the first line is empty; expected the names of the columns")
    return names


def _check_declared(names: list[str], types: Mapping[str, StoredType]) -> None:
    unknown = [name for name in types if name not in names]
    if unknown:
        issues = [Issue(f"types.{name}", "there is no such column", code="unknown_column") for name in unknown]
        known = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
        raise Invalid(
            f"types are declared for {', '.join(map(repr, unknown))}, which the header does not have; it has {known}",
            code="unknown_column",
            issues=issues,
        )


def _with_types(path: Path, kind: UploadKind, names: list[str], options: IngestOptions) -> tuple[Column, ...]:
    undeclared = {name: TypeGuess() for name in names if name not in options.types}
    if undeclared:
        nulls = pa.array(options.null_values, pa.string())
        for texts in _text_batches(path, kind, [Column(name, StoredType.TEXT) for name in names], options):
            for name, guess in undeclared.items():
                guess.see(_without(texts.column(names.index(name)), nulls).drop_null())
    return tuple(Column(name, undeclared[name].type if name in undeclared else options.types[name]) for name in names)


def _text_batches(
    path: Path, kind: UploadKind, columns: tuple[Column, ...] | list[Column], options: IngestOptions
) -> Iterator[pa.RecordBatch]:
    """Every column as text. Unquoted null values are null; quoted, they are what they say."""
    names = [column.name for column in columns]
    with open_text(path, kind) as stream, damaged_compression(kind):
        try:
            reader = arrow_csv.open_csv(
                stream,
                read_options=arrow_csv.ReadOptions(block_size=BLOCK_BYTES),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=options.delimiter, newlines_in_values=True, ignore_empty_lines=len(names) > 1
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    null_values=options.null_values,
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
            yield from reader
        except pa.ArrowInvalid as error:
            raise Invalid(f"the file cannot be read as CSV: {error}", code="malformed_csv") from error


def _without(values: pa.Array, nulls: pa.Array) -> pa.Array:
    """The texts with null values as nulls, quoted or not: in a column of numbers a quoted nothing is nothing."""
    return pc.if_else(pc.is_in(values, value_set=nulls), pa.scalar(None, pa.string()), values)


def _shown(value: str) -> str:
    return value if len(value) <= _SHOWN_CHARACTERS else value[: _SHOWN_CHARACTERS - 3] + "..."
