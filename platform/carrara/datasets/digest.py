"""The logical digest of a table: over every row and column, whatever file it came in.

Two tables have the same digest when they have the same columns (name, type, order) and, row by row in the same order,
the same values. Null, empty text and NaN differ; so do 0.0 and -0.0. All NaN are one value. How the file was written
(CSV or Parquet, row groups, pages, dictionaries, compression) and the version of Arrow do not matter: no Arrow or
Parquet bytes are hashed. Format `carrara-table/1`:

- each column is up to three byte streams over all rows, each with its own SHA-256 (hex):
  `valid`  one byte a row, 1 or 0 for null;
  `data`   little-endian: integer, timestamp (microseconds since 1970-01-01) int64; date (days) int32; number IEEE 754
           binary64 with every NaN as 7ff8000000000000; boolean one byte; text the length in UTF-8 bytes as uint32;
           a null is all zero bits;
  `text`   for text only: the UTF-8 bytes of the values, one after another;
- the column's digest is `digest_json({"name", "type", "valid", "data"[, "text"]})`;
- the table's is `digest_json({"format": "carrara-table/1", "rows": n, "columns": [column digests in order]})`.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from carrara.contracts.datasets import StoredType
from carrara.datasets.columns import Column, columns_of
from carrara.kernel.digests import Digest, digest_json

FORMAT = "carrara-table/1"
_BATCH_ROWS = 65_536


class TableDigest:
    """Takes a table in pieces, however it is cut, and gives its digest."""

    def __init__(self, columns: Iterable[Column]) -> None:
        self._columns = [_ColumnDigest(column) for column in columns]
        self._rows = 0

    def update(self, batch: pa.RecordBatch) -> None:
        """The next rows, with the columns in order, of the Arrow types in `columns.ARROW_TYPES`."""
        for column, values in zip(self._columns, batch.columns, strict=True):
            column.update(values)
        self._rows += batch.num_rows

    def column_digests(self) -> list[Digest]:
        return [column.digest() for column in self._columns]

    def digest(self) -> Digest:
        return digest_json({"format": FORMAT, "rows": self._rows, "columns": self.column_digests()})


def digest_parquet(paths: Iterable[str]) -> Digest:
    """The digest of a stored table, recomputed from its files: what an integrity check compares with the record."""
    digest: TableDigest | None = None
    for path in paths:
        with pq.ParquetFile(path) as file:
            digest = digest or TableDigest(columns_of(file.schema_arrow))
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                digest.update(batch)
    if digest is None:
        raise ValueError("a table has at least one file")
    return digest.digest()


class _ColumnDigest:
    def __init__(self, column: Column) -> None:
        self._column = column
        self._valid, self._data, self._text = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()

    def update(self, values: pa.Array) -> None:
        self._valid.update(_numpy(values.is_valid(), False, "u1").data)
        self._data.update(_fixed_width(values, self._column.type).data)
        if self._column.type is StoredType.TEXT:
            self._text.update(_text_bytes(values.drop_null()))

    def digest(self) -> Digest:
        parts = {"valid": self._valid.hexdigest(), "data": self._data.hexdigest()}
        if self._column.type is StoredType.TEXT:
            parts["text"] = self._text.hexdigest()
        return digest_json({"name": self._column.name, "type": self._column.type.value, **parts})


def _fixed_width(values: pa.Array, stored: StoredType) -> np.ndarray:
    if stored is StoredType.TEXT:
        return _numpy(pc.binary_length(values), 0, "<u4")
    if stored is StoredType.BOOLEAN:
        return _numpy(values, False, "u1")
    if stored is StoredType.NUMBER:
        numbers = _numpy(values, 0.0, "<f8")
        nan = np.isnan(numbers)
        if nan.any():
            numbers = numbers.copy()
            numbers[nan] = np.nan
        return numbers
    if stored is StoredType.DATE:
        return _numpy(values.cast(pa.int32()), 0, "<i4")
    return _numpy(values.cast(pa.int64()), 0, "<i8")


def _numpy(values: pa.Array, null: float, dtype: str) -> np.ndarray:
    filled = values.fill_null(null) if values.null_count else values
    return np.ascontiguousarray(filled.to_numpy(zero_copy_only=False), dtype=dtype)


def _text_bytes(values: pa.Array) -> memoryview:
    """The UTF-8 bytes of an array without nulls, which lie one after another in Arrow's own buffer."""
    if len(values) == 0:
        return memoryview(b"")
    _, offsets, data = values.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[values.offset : values.offset + len(values) + 1]
    return memoryview(data)[ends[0] : ends[-1]] if data is not None else memoryview(b"")
