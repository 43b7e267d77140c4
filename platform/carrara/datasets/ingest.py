"""From an upload to the one form in which tables are stored: Parquet, in our types, with the table's digest.

Memory is bounded by one row group, however long the table is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from carrara.contracts.datasets import IngestOptions
from carrara.datasets.columns import Column, arrow_schema
from carrara.datasets.csv_table import open_csv
from carrara.datasets.digest import TableDigest
from carrara.datasets.parquet_table import open_parquet
from carrara.datasets.uploads import BLOCK_BYTES, UploadKind, kind_of
from carrara.kernel.digests import Digest

_GROUP_ROWS = 65_536
_GROUP_BYTES = 64 << 20


@dataclass(frozen=True)
class IngestLimits:
    """What one upload may unpack to, in bytes; a record is one line of CSV with its line breaks inside quotes."""

    max_table_bytes: int = 64 << 30
    max_record_bytes: int = BLOCK_BYTES // 2  # Arrow reads in blocks, and no record may lie in three


@dataclass(frozen=True)
class IngestedTable:
    """A table as it was written to `path`. `column_digests` in the order of `columns`."""

    path: Path
    columns: tuple[Column, ...]
    row_count: int
    digest: Digest
    column_digests: tuple[Digest, ...]


class UploadedTable(Protocol):
    """An upload that can be read row by row."""

    @property
    def columns(self) -> tuple[Column, ...]: ...

    def batches(self) -> Iterator[pa.RecordBatch]: ...


def open_upload(path: Path, options: IngestOptions, limits: IngestLimits) -> UploadedTable:
    """The table in an upload, after every check that can be made without its values."""
    kind = kind_of(path)
    if kind is UploadKind.PARQUET:
        return open_parquet(path, max_bytes=limits.max_table_bytes)
    return open_csv(
        path,
        kind,
        options,
        max_text_bytes=limits.max_table_bytes,
        max_record_bytes=limits.max_record_bytes,
    )


def ingest(
    upload: Path, target: Path, options: IngestOptions | None = None, limits: IngestLimits | None = None
) -> IngestedTable:
    """Writes the table in `upload` to `target` as Parquet. `Invalid` says what is wrong with it and where."""
    table = open_upload(upload, options or IngestOptions(), limits or IngestLimits())
    schema = arrow_schema(table.columns)
    digest = TableDigest(table.columns)
    rows = 0
    with pq.ParquetWriter(target, schema, compression="zstd", version="2.6", store_schema=False) as writer:
        group = _RowGroup()
        for batch in table.batches():
            digest.update(batch)
            rows += batch.num_rows
            for piece in _pieces(batch):
                group.add(piece)
                if group.is_full:
                    writer.write_table(group.take(schema), row_group_size=_GROUP_ROWS)
        if group.rows:
            writer.write_table(group.take(schema), row_group_size=_GROUP_ROWS)
    return IngestedTable(target, table.columns, rows, digest.digest(), tuple(digest.column_digests()))


@dataclass
class _RowGroup:
    batches: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0
    size: int = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self.batches.append(batch)
        self.rows += batch.num_rows
        self.size += batch.nbytes

    @property
    def is_full(self) -> bool:
        return self.rows >= _GROUP_ROWS or self.size >= _GROUP_BYTES

    def take(self, schema: pa.Schema) -> pa.Table:
        table = pa.Table.from_batches(self.batches, schema)
        self.batches, self.rows, self.size = [], 0, 0
        return table


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, _GROUP_ROWS):
        yield batch.slice(start, _GROUP_ROWS)
