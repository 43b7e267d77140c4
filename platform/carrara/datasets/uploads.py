"""What an upload is, told by its first bytes, and its text without compression."""

import contextlib
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from carrara.kernel.errors import Invalid, TooLarge

BLOCK_BYTES = 4 << 20
_BOM = b"\xef\xbb\xbf"


class UploadKind(Enum):
    """The value is Arrow's name of the compression."""

    PARQUET = "parquet"
    CSV = None
    CSV_GZIP = "gzip"
    CSV_ZSTD = "zstd"


_REFUSED = {
    b"PK\x03\x04": "a zip archive or an Excel workbook; upload the CSV in it, or compress with gzip or zstd",
    b"BZh": "compressed with bzip2; compress with gzip or zstd",
    b"\xfd7zXZ": "compressed with xz; compress with gzip or zstd",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save it as CSV (UTF-8)",
    b"ARROW1": "an Arrow file; write Parquet",
    b"SQLite format 3": "a SQLite database; export the table as CSV",
}


def kind_of(path: Path) -> UploadKind:
    """CSV unless the first bytes say otherwise; `Invalid` for an empty file and for kinds that we do not read."""
    with path.open("rb") as stream:
        begin = stream.read(16)
    if not begin or begin == _BOM:
        raise Invalid("the file is empty; expected CSV with a header line, or Parquet", code="empty_file")
    for magic, what in _REFUSED.items():
        if begin.startswith(magic):
            raise Invalid(f"the file is {what}; expected CSV (also .gz, .zst) or Parquet", code="unknown_format")
    if begin.startswith(b"PAR1"):
        return UploadKind.PARQUET
    if begin.startswith(b"\x1f\x8b"):
        return UploadKind.CSV_GZIP
    return UploadKind.CSV_ZSTD if begin.startswith(b"\x28\xb5\x2f\xfd") else UploadKind.CSV


@contextlib.contextmanager
def open_text(path: Path, kind: UploadKind) -> Iterator[BinaryIO]:
    """The bytes of a CSV upload, decompressed, without a byte order mark. For Arrow or `blocks`."""
    with contextlib.ExitStack() as opened, damaged_compression(kind):
        begin = opened.enter_context(pa.input_stream(str(path), compression=kind.value))
        has_bom = begin.read(len(_BOM)) == _BOM
        if not has_bom:
            begin = opened.enter_context(pa.input_stream(str(path), compression=kind.value))
        yield cast("BinaryIO", begin)


def blocks(path: Path, kind: UploadKind, *, max_bytes: int) -> Iterator[bytes]:
    """The same bytes in blocks; `TooLarge` beyond `max_bytes`, which also stops what unpacks without end."""
    total = 0
    with open_text(path, kind) as stream:
        while block := stream.read(BLOCK_BYTES):
            total += len(block)
            if total > max_bytes:
                raise TooLarge(f"the text has more than {max_bytes} bytes when unpacked", limit=max_bytes)
            yield block


@contextlib.contextmanager
def damaged_compression(kind: UploadKind) -> Iterator[None]:
    """Turns what Arrow says of broken compression into a refusal."""
    try:
        yield
    except OSError as error:
        if kind in (UploadKind.CSV_GZIP, UploadKind.CSV_ZSTD):
            raise Invalid(
                f"the {kind.value} compression is damaged or cut short ({error}); upload the file again",
                code="bad_compression",
            ) from error
        raise
