"""Reading a Parquet upload: types that we store are taken, others mapped without loss or refused by name."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from carrara.contracts.datasets import StoredType
from carrara.datasets.columns import ARROW_TYPES, Column, arrow_schema, check_names
from carrara.datasets.parquet_bounds import (
    MAX_CELL_BYTES,
    MAX_PIECE_BYTES,
    batch_rows,
    cell_too_large,
    check_footer,
    table_bytes,
)
from carrara.kernel.errors import Invalid, Issue, TooLarge

_FAILURES = (pa.ArrowException, OSError, ValueError)  # Arrow's readers raise all of these for broken files


@dataclass(frozen=True)
class ParquetTable:
    """A Parquet upload whose columns can be stored. `max_bytes` bounds what the rows may unpack to."""

    path: Path
    columns: tuple[Column, ...]
    max_bytes: int

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in our types; `Invalid` names the column and row of a value that has none."""
        schema = arrow_schema(self.columns)
        row = total = 0
        for batch in self._decoded():
            total += batch.nbytes
            if total > self.max_bytes:
                raise TooLarge(f"the rows have more than {self.max_bytes} bytes when unpacked", limit=self.max_bytes)
            arrays = [_stored(column, values, row) for column, values in zip(self.columns, batch.columns, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
            row += batch.num_rows

    def _decoded(self) -> Iterator[pa.RecordBatch]:
        # texts stay dictionaries until they are measured: a small file can hold one long text a billion times
        texts = [column.name for column in self.columns if column.type is StoredType.TEXT]
        try:
            with pq.ParquetFile(self.path, read_dictionary=texts) as file:
                row = 0
                for batch in file.iter_batches(batch_size=batch_rows(file.metadata), use_threads=False):
                    _check_cells(batch, row)
                    batch.validate(full=True)
                    row += batch.num_rows
                    yield from _bounded(batch)
        except _FAILURES as error:
            raise _malformed(error) from error


def open_parquet(path: Path, *, max_bytes: int) -> ParquetTable:
    """The table in a Parquet file; `Invalid` if it cannot be read, holds no rows, or has a column we cannot store."""
    try:
        with pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
    except _FAILURES as error:
        raise _malformed(error) from error
    check_names(schema.names, "the Parquet schema")
    kinds = [_kind(field.type) for field in schema]
    issues = [
        Issue(f"column {field.name!r}", f"the type {field.type} cannot be stored", code="unknown_type")
        for field, kind in zip(schema, kinds, strict=True)
        if kind is None
    ]
    if issues:
        more = f" (and {len(issues) - 1} more)" if len(issues) > 1 else ""
        raise Invalid(
            f"{issues[0].where}: {issues[0].message}{more}; possible are whole and floating-point numbers, booleans,"
            " text, timestamps and dates: convert or drop it",
            code="unknown_type",
            issues=issues,
        )
    if not metadata.num_rows:
        raise Invalid("the file has columns and no rows", code="no_rows")
    columns = tuple(Column(field.name, kind) for field, kind in zip(schema, kinds, strict=True) if kind)
    check_footer(path, metadata)
    return ParquetTable(path, columns, table_bytes(path, max_bytes))


def _kind(arrow: pa.DataType) -> StoredType | None:
    types = pa.types
    if types.is_dictionary(arrow):
        return _kind(arrow.value_type)
    if types.is_timestamp(arrow):
        return StoredType.TIMESTAMP if arrow.tz is None else StoredType.TIMESTAMP_UTC
    simple = (
        (types.is_integer, StoredType.INTEGER),
        (types.is_floating, StoredType.NUMBER),
        (types.is_boolean, StoredType.BOOLEAN),
        (types.is_string, StoredType.TEXT),
        (types.is_large_string, StoredType.TEXT),
        (types.is_string_view, StoredType.TEXT),
        (types.is_null, StoredType.TEXT),
        (types.is_date, StoredType.DATE),
    )
    for is_one, kind in simple:
        if is_one(arrow):
            return kind
    return StoredType.INTEGER if types.is_decimal(arrow) and arrow.scale == 0 else None


def _stored(column: Column, values: pa.Array, first_row: int) -> pa.Array:
    target = ARROW_TYPES[column.type]
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    try:
        stored = values.cast(target)
    except pa.ArrowInvalid as error:
        row = first_row + _first_failing(values, target)
        raise _bad_value(column, row, f"a {values.type} does not fit a {column.type} ({error})") from error
    if column.type is StoredType.TEXT:
        found = pc.index(pc.fill_null(pc.match_substring(stored, "\x00"), False), True).as_py()
        if found >= 0:
            raise _bad_value(column, first_row + found, "the text holds a NUL character")
    return stored


def _first_failing(values: pa.Array, target: pa.DataType) -> int:
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            values[low:middle].cast(target)
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return low


def _check_cells(batch: pa.RecordBatch, first_row: int) -> None:
    """`Invalid` names a text above the limit while it is still there only once."""
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        texts = values.dictionary if pa.types.is_dictionary(values.type) else values
        if _is_text(texts.type) and (pc.max(pc.binary_length(texts)).as_py() or 0) > MAX_CELL_BYTES:
            rows = f"rows {first_row} to {first_row + len(values) - 1}"
            raise cell_too_large(name, f"a value in {rows} (from 0)")


def _is_text(arrow: pa.DataType) -> bool:
    return bool(pa.types.is_string(arrow) or pa.types.is_large_string(arrow))


def _bounded(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch in pieces that stay small when their dictionaries are written out."""
    if batch.num_rows > 1 and sum(map(_unpacked_bytes, batch.columns)) > MAX_PIECE_BYTES:
        half = batch.num_rows // 2
        yield from _bounded(batch.slice(0, half))
        yield from _bounded(batch.slice(half))
    else:
        arrays = [
            values.dictionary_decode() if pa.types.is_dictionary(values.type) else values for values in batch.columns
        ]
        yield pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _unpacked_bytes(values: pa.Array) -> int:
    if not pa.types.is_dictionary(values.type):
        return int(values.nbytes)
    lengths = pc.binary_length(values.dictionary.cast(pa.large_string()))
    return int(pc.sum(lengths.take(values.indices)).as_py() or 0)


def _bad_value(column: Column, row: int, message: str) -> Invalid:
    where = f"column {column.name!r}, row {row}"
    issue = Issue(where, message, code="bad_value", facts={"column": column.name, "row": row})
    return Invalid(f"{where} (from 0): {message}", code="bad_value", issues=[issue], column=column.name, row=row)


def _malformed(error: Exception) -> Invalid:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return Invalid(f"the file cannot be read as Parquet: {text}; write it again", code="malformed_parquet")
