"""What Carrara asks of an object store, whichever it is. One contract suite runs against every implementation."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from carrara.kernel.errors import Invalid, Issue

MAX_KEY_BYTES = 900  # S3 takes 1024; the rest is room for the store's own prefix
_SEGMENT = re.compile(r"[A-Za-z0-9_=+@][A-Za-z0-9._=+@-]{0,199}")


@dataclass(frozen=True)
class ObjectInfo:
    """One stored object. `modified_at` is the store's own clock, aware, in UTC."""

    key: str
    size: int
    modified_at: datetime


class ObjectStore(Protocol):
    """Whole objects under keys such as `blobs/sha256/ab/cdef`. A key holds the old object or the new, never a part.

    Every method raises `Invalid` for a key that `check_key` refuses and `Unavailable` when the store is away, full or
    refuses us; reading raises `NotFound` for a key that is not there. Safe to share between threads.
    """

    def put_file(self, key: str, path: Path) -> None:
        """Stores the bytes of a file; when it returns they survive a crash of the store's machine."""
        ...

    def put_bytes(self, key: str, data: bytes) -> None:
        """Stores these bytes; when it returns they survive a crash of the store's machine."""
        ...

    def get_bytes(self, key: str, max_bytes: int | None = None) -> bytes:
        """The whole object; `TooLarge`, before reading it, when it has more than `max_bytes`."""
        ...

    def download(self, key: str, path: Path) -> None:
        """Writes the object to `path`, which is there whole or not at all."""
        ...

    def open_stream(self, key: str) -> AbstractContextManager[BinaryIO]:
        """The object as a stream to read forward; a connection that dies half-way is `Unavailable`, never an end."""
        ...

    def exists(self, key: str) -> bool: ...

    def size(self, key: str) -> int:
        """In bytes."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key begins with `prefix`, in the byte order of the keys."""
        ...

    def delete(self, key: str) -> None:
        """Removes the object; one that is not there is no error."""
        ...

    def check(self) -> None:
        """Writes, reads and deletes a small object; `Unavailable` says what is wrong and how to mend it."""
        ...


def check_key(key: str) -> str:
    """The key, if every store can hold it: segments of letters, digits and `._=+@-`, none beginning with `.` or `-`.

    Anything else (`..`, an empty segment, a leading slash, NUL, `%2e`) is `Invalid`: no name that came from outside
    may reach a path.
    """
    if len(key.encode(errors="replace")) <= MAX_KEY_BYTES and all(map(_SEGMENT.fullmatch, key.split("/"))):
        return key
    raise _bad_key(key)


def check_prefix(prefix: str) -> str:
    """The prefix, if keys can begin with it; the empty one is every key."""
    *folders, last = prefix.split("/")
    whole = all(map(_SEGMENT.fullmatch, folders)) and (not last or _SEGMENT.fullmatch(last))
    if whole and len(prefix) <= MAX_KEY_BYTES:
        return prefix
    raise _bad_key(prefix)


def _bad_key(key: str) -> Invalid:
    shown = key if len(key) <= 80 else key[:77] + "..."
    issue = Issue(where="key", message=f"{shown!r} is not an object key", code="bad_key")
    return Invalid(
        f"object key {shown!r}: expected segments of A-Z a-z 0-9 . _ = + @ - between slashes, none empty or beginning"
        f" with a dot, and at most {MAX_KEY_BYTES} bytes in all",
        code="bad_key",
        issues=[issue],
    )
