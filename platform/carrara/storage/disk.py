"""Files on this machine's disk: written whole or not at all, and its failures told as kinds."""

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from carrara.kernel.errors import Unavailable

BLOCK_BYTES = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def disk_error(error: OSError, doing: str, *, needed_bytes: int | None = None) -> Unavailable:
    """The kind for a failed system call while `doing` something: full disk, or the disk is away."""
    if error.errno in _FULL:
        need = f"; need {needed_bytes} bytes" if needed_bytes is not None else ""
        return Unavailable(
            f"disk full while {doing}{need}. Free space there, then try again",
            code="disk_full",
            needed_bytes=needed_bytes,
            retry_after_seconds=60,
        )
    return Unavailable(f"{doing} failed: {error.strerror or error}", code="disk_error", errno=error.errno)


@contextlib.contextmanager
def new_file(
    path: Path,
    *,
    folder: Path | None = None,
    durable: bool = True,
    place: Callable[[Path, Path], object] = Path.replace,
) -> Iterator[BinaryIO]:
    """A stream whose bytes appear at `path` when the block ends well, and nowhere when it does not.

    The temporary file is in `folder` (on the same file system), by default beside `path`; `place` renames it.
    `durable` forces bytes and name to the disk before it returns. Raises OSError.
    """
    temporary = (folder or path.parent) / f".part-{secrets.token_hex(8)}"
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        place(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        with contextlib.suppress(FileNotFoundError):  # placed, and deleted by another since
            sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Forces the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_blocks(source: BinaryIO, target: BinaryIO) -> int:
    """Copies what is left in `source`; the number of bytes."""
    copied = 0
    while block := source.read(BLOCK_BYTES):
        target.write(block)
        copied += len(block)
    return copied
