"""An object store in a directory: the default of `carrara up`, or a network share.

An object is one file. It is written in `.parts/` beside the keys, forced to the disk and renamed into place, so that a
crash leaves a stray part and never half an object. Keys cannot begin with a dot, so parts are never listed.
"""

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from carrara.kernel.errors import CarraraError, Conflict, NotFound, TooLarge, Unavailable
from carrara.kernel.ids import uuid7
from carrara.storage.disk import copy_blocks, disk_error, new_file, sync_folder
from carrara.storage.ports import ObjectInfo, check_key, check_prefix

_PARTS = ".parts"
STALE_PART_SECONDS = 24 * 3600
_PLACE_TRIES = 100


class DirectoryStore:
    """`ObjectStore` over a directory, which is made if it is missing. Any number of processes may share it."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._parts = self._root / _PARTS
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, f"making the object store at {root}") from error
        self.sweep_parts()

    def put_file(self, key: str, path: Path) -> None:
        target = self._path(key)
        try:
            source = path.open("rb")
        except OSError as error:
            raise disk_error(error, f"reading {path.name} to store it") from error
        with source:
            self._write(key, target, source, needed_bytes=os.fstat(source.fileno()).st_size)

    def put_bytes(self, key: str, data: bytes) -> None:
        self._write(key, self._path(key), data, needed_bytes=len(data))

    def get_bytes(self, key: str, max_bytes: int | None = None) -> bytes:
        with self._open(key) as stream:
            length = os.fstat(stream.fileno()).st_size
            if max_bytes is not None and length > max_bytes:
                raise TooLarge(
                    f"object {key} has {length} bytes, over the limit of {max_bytes}", size=length, limit=max_bytes
                )
            return stream.read()

    def download(self, key: str, path: Path) -> None:
        with self._open(key) as stream:
            length = os.fstat(stream.fileno()).st_size
            try:
                with new_file(path, durable=False) as target:
                    copy_blocks(stream, target)
            except OSError as error:
                raise disk_error(error, f"writing {path.name}", needed_bytes=length) from error

    @contextlib.contextmanager
    def open_stream(self, key: str) -> Iterator[BinaryIO]:
        with self._open(key) as stream:
            yield stream

    def exists(self, key: str) -> bool:
        path = self._path(key)
        try:
            found = path.is_file()
        except OSError as error:
            raise disk_error(error, f"looking for object {key}") from error
        if not found:
            self._require_root()
        return found

    def size(self, key: str) -> int:
        with self._open(key) as stream:
            return os.fstat(stream.fileno()).st_size

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        folder = check_prefix(prefix).rpartition("/")[0]
        return self._walk(self._root / folder, folder + "/" if folder else "", prefix)

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
        except (IsADirectoryError, NotADirectoryError, PermissionError) as error:
            if path.is_dir() or isinstance(error, NotADirectoryError):
                return  # no object has this key: others merely begin with it
            raise disk_error(error, f"deleting object {key}") from error
        except OSError as error:
            raise disk_error(error, f"deleting object {key}") from error
        self._drop_empty_folders(path.parent)

    def check(self) -> None:
        key = f"check/{uuid7()}"
        self.put_bytes(key, b"carrara")
        self.get_bytes(key)
        self.delete(key)

    def sweep_parts(self, older_than_seconds: float = STALE_PART_SECONDS) -> int:
        """Removes the parts that crashed writers left, as opening the store does; how many."""
        swept = 0
        for part in self._parts.iterdir():
            with contextlib.suppress(OSError):  # another process was first, or it is not ours
                if time.time() - part.stat().st_mtime > older_than_seconds:
                    part.unlink()
                    swept += 1
        return swept

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _open(self, key: str) -> BinaryIO:
        path = self._path(key)
        try:
            return path.open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            self._require_root()
            raise NotFound("object", key=key) from error
        except OSError as error:
            raise disk_error(error, f"reading object {key}") from error

    def _require_root(self) -> None:
        """An unmounted share looks like an empty store; the folder of parts tells them apart."""
        if not self._parts.is_dir():
            raise Unavailable(f"the object store at {self._root} has gone; mount or restore it", code="store_away")

    def _write(self, key: str, target: Path, content: BinaryIO | bytes, *, needed_bytes: int) -> None:
        try:
            with new_file(target, folder=self._parts, place=self._place) as stream:
                if isinstance(content, bytes):
                    stream.write(content)
                else:
                    copy_blocks(content, stream)
        except OSError as error:
            raise self._write_error(error, key, needed_bytes) from error

    def _write_error(self, error: OSError, key: str, needed_bytes: int) -> CarraraError:
        if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY):
            return Conflict(f"object {key} cannot be stored: one key would be the folder of another", code="key_taken")
        return disk_error(error, f"writing object {key}", needed_bytes=needed_bytes)

    def _place(self, part: Path, target: Path) -> None:
        for tries_left in reversed(range(_PLACE_TRIES)):
            try:
                self._make_folder(target.parent)
                part.replace(target)
                return
            except (FileNotFoundError, FileExistsError):  # a delete dropped the folder, empty, while we looked
                if not tries_left:
                    raise

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)

    def _drop_empty_folders(self, folder: Path) -> None:
        while folder != self._root:
            try:
                folder.rmdir()
            except OSError:
                return  # not empty, or another delete was first
            folder = folder.parent

    def _walk(self, folder: Path, base: str, prefix: str) -> Iterator[ObjectInfo]:
        try:
            entries = [(entry.name + "/" if entry.is_dir() else entry.name, entry) for entry in os.scandir(folder)]
        except (FileNotFoundError, NotADirectoryError):
            self._require_root()
            return
        except OSError as error:
            raise disk_error(error, f"listing objects under {prefix!r}") from error
        for name, entry in sorted(entries, key=lambda pair: pair[0]):
            key = base + name
            if name.startswith(".") or not (key.startswith(prefix) or prefix.startswith(key)):
                continue
            if name.endswith("/"):
                yield from self._walk(Path(entry.path), key, prefix)
                continue
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat()
                yield ObjectInfo(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
