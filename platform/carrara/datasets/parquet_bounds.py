"""How much of a Parquet file may be unpacked at once and in all, decided from its footer before anything is decoded.

A few kilobytes of Parquet can hold gigabytes: pages are compressed, and a dictionary holds a text once however many
rows name it. Two ratios bound this. What is encoded counts per row group, since it is unpacked in pieces of one; what
is decoded counts in all, with a floor under which a constant column of ten million rows passes.
"""

from pathlib import Path

import pyarrow.parquet as pq

from carrara.kernel.errors import Invalid, Issue, TooLarge

MAX_CELL_BYTES = 1 << 20
MAX_PIECE_BYTES = 16 << 20
MAX_RATIO = 200
_BATCH_ROWS = 65_536
_GROUP_FLOOR_BYTES = 64 << 20
_TABLE_FLOOR_BYTES = 1 << 30
_MAX_GROUP_BYTES = 2 << 30


def check_footer(path: Path, metadata: pq.FileMetaData) -> None:
    """`TooLarge` for a row group that unpacks to far more than it takes, `Invalid` for one with cells above 1 MiB."""
    upload_bytes = path.stat().st_size
    for group in range(metadata.num_row_groups):
        found = metadata.row_group(group)
        columns = [found.column(number) for number in range(found.num_columns)]
        packed = min(sum(column.total_compressed_size for column in columns), upload_bytes)
        unpacked = sum(column.total_uncompressed_size for column in columns)
        for column in columns:
            values = max(column.num_values, 1)
            if column.total_uncompressed_size > (MAX_CELL_BYTES + 1024) * values + (1 << 20):
                raise cell_too_large(column.path_in_schema, f"a value of row group {group}")
        limit = min(max(_GROUP_FLOOR_BYTES, MAX_RATIO * packed), _MAX_GROUP_BYTES)
        if unpacked > limit:
            raise TooLarge(
                f"row group {group} (from 0) takes {packed} bytes and unpacks to {unpacked}, at most {limit} are"
                " unpacked at once; write the file with smaller row groups",
                limit=limit,
                row_group=group,
            )


def batch_rows(metadata: pq.FileMetaData) -> int:
    """So many rows that a batch of any row group holds about `MAX_PIECE_BYTES` before its dictionaries are written
    out."""
    rows = _BATCH_ROWS
    for group in range(metadata.num_row_groups):
        found = metadata.row_group(group)
        unpacked = sum(found.column(number).total_uncompressed_size for number in range(found.num_columns))
        if unpacked > 0:
            rows = min(rows, MAX_PIECE_BYTES * max(found.num_rows, 1) // unpacked)
    return max(rows, 1)


def table_bytes(path: Path, max_bytes: int) -> int:
    """What the rows of this upload may unpack to."""
    return min(max_bytes, max(_TABLE_FLOOR_BYTES, MAX_RATIO * path.stat().st_size))


def cell_too_large(column: str, where: str) -> Invalid:
    message = f"{where} has more than {MAX_CELL_BYTES} bytes of text; store long contents elsewhere and name them here"
    issue = Issue(f"column {column!r}", message, code="cell_too_large", facts={"column": column})
    return Invalid(f"column {column!r}: {message}", code="cell_too_large", issues=[issue], column=column)
