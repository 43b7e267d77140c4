"""Content-addressed, immutable blobs over an object store, under `blobs/sha256/<2 digits>/<62 digits>`.

A blob is its own proof: what is read is hashed, and bytes that do not have their digest are `Corrupted`, never given.
"""

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from carrara.kernel.digests import DIGEST_PATTERN, Digest, digest_bytes, digest_file
from carrara.kernel.errors import Conflict, Corrupted, Invalid, Issue, NotFound, TooLarge
from carrara.storage.disk import BLOCK_BYTES, disk_error, new_file
from carrara.storage.ports import ObjectInfo, ObjectStore

PREFIX = "blobs/sha256/"
MAX_TREE_PATH = 1024
_DIGEST = re.compile(DIGEST_PATTERN.rstrip("$") + r"\Z")


@dataclass(frozen=True)
class BlobRef:
    """A stored blob; `size` in bytes."""

    digest: Digest
    size: int


@dataclass(frozen=True)
class TreeFile:
    """A file of a stored folder. `path` is relative to the folder, with `/`."""

    path: str
    digest: Digest
    size: int


class Blobs:
    """Immutable blobs. Every method may raise `Unavailable`; reading one that is not there is `NotFound`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def put_file(self, path: Path) -> BlobRef:
        """Stores the bytes of a file; nothing is sent when they are there already.

        `Conflict` when the file changes meanwhile: the caller must own it.
        """
        before = _identity(path)
        try:
            digest, size = digest_file(path)
        except OSError as error:
            raise disk_error(error, f"reading {path.name} to store it") from error
        key = _key(digest)
        if not self._has(key, size):
            self._store.put_file(key, path)
        if _identity(path) != before:
            self._drop_if_damaged(digest)
            raise Conflict(f"{path.name} changed while it was being stored; store it again", code="file_changed")
        return BlobRef(digest, size)

    def put_bytes(self, data: bytes) -> BlobRef:
        digest = digest_bytes(data)
        key = _key(digest)
        if not self._has(key, len(data)):
            self._store.put_bytes(key, data)
        return BlobRef(digest, len(data))

    def get_bytes(self, digest: str, max_bytes: int | None = None) -> bytes:
        """The whole blob; `TooLarge` over `max_bytes`, `Corrupted` if its bytes have another digest."""
        data = self._get(digest, max_bytes)
        if digest_bytes(data) != digest:
            raise _corrupted(digest, digest_bytes(data))
        return data

    def download(self, digest: str, path: Path) -> int:
        """Writes the blob to `path` and gives its size. The name appears only after the bytes written were verified."""
        hasher = hashlib.sha256()
        size = 0
        with self._stream(digest) as stream:
            try:
                with new_file(path, durable=False) as target:
                    while block := stream.read(BLOCK_BYTES):
                        hasher.update(block)
                        target.write(block)
                        size += len(block)
                    found = "sha256:" + hasher.hexdigest()
                    if found != digest:
                        raise _corrupted(digest, found)
            except OSError as error:
                raise disk_error(error, f"writing {path.name}", needed_bytes=self._store.size(_key(digest))) from error
        return size

    def blocks(self, digest: str) -> Iterator[bytes]:
        """The blob in pieces. `Corrupted` comes after the last one: who passes them on must break off then."""
        hasher = hashlib.sha256()
        with self._stream(digest) as stream:
            while block := stream.read(BLOCK_BYTES):
                hasher.update(block)
                yield block
        found = "sha256:" + hasher.hexdigest()
        if found != digest:
            raise _corrupted(digest, found)

    def exists(self, digest: str) -> bool:
        return self._store.exists(_key(digest))

    def verify(self, digest: str) -> int:
        """The blob's size, after reading all of it; `Corrupted` if its bytes have another digest."""
        hasher = hashlib.sha256()
        size = 0
        with self._stream(digest) as stream:
            while block := stream.read(BLOCK_BYTES):
                hasher.update(block)
                size += len(block)
        found = "sha256:" + hasher.hexdigest()
        if found != digest:
            raise _corrupted(digest, found)
        return size

    def list(self) -> Iterator[ObjectInfo]:
        """Every stored blob, in the order of their digests; see `digest_of`."""
        return self._store.list(PREFIX)

    def put_tree(self, directory: Path, *, max_bytes: int | None = None) -> tuple[TreeFile, ...]:
        """Stores every file below a folder, sorted by path. Empty folders are not kept.

        `Invalid(bad_tree)` for links, devices and names that are not printable text; `TooLarge` over `max_bytes`.
        """
        paths = sorted(_tree_paths(directory))
        total = sum((directory / path).lstat().st_size for path in paths)
        if max_bytes is not None and total > max_bytes:
            raise TooLarge(
                f"{directory.name} has {total} bytes, over the limit of {max_bytes}", size=total, limit=max_bytes
            )
        files = []
        for path in paths:
            blob = self.put_file(directory / path)
            files.append(TreeFile(path, blob.digest, blob.size))
        return tuple(files)

    def get_tree(self, files: Iterable[TreeFile], directory: Path) -> None:
        """Writes the files below `directory`, which must be empty or missing.

        `Invalid(bad_tree)` before anything is written if a path would leave it or two cannot both be there.
        """
        wanted = tuple(files)
        check_tree(wanted)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if any(directory.iterdir()):
                raise Conflict(f"{directory.name} is not empty; a stored folder is written to a new one")
            for file in wanted:
                (directory / file.path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, f"making {directory.name}") from error
        for file in wanted:
            self.download(file.digest, directory / file.path)

    def _get(self, digest: str, max_bytes: int | None) -> bytes:
        try:
            return self._store.get_bytes(_key(digest), max_bytes)
        except NotFound as error:
            raise NotFound("blob", digest=digest) from error

    @contextlib.contextmanager
    def _stream(self, digest: str) -> Iterator[BinaryIO]:
        with contextlib.ExitStack() as opened:
            try:
                stream = opened.enter_context(self._store.open_stream(_key(digest)))
            except NotFound as error:
                raise NotFound("blob", digest=digest) from error
            yield stream

    def _has(self, key: str, size: int) -> bool:
        try:
            return self._store.size(key) == size
        except NotFound:
            return False

    def _drop_if_damaged(self, digest: Digest) -> None:
        try:
            self.verify(digest)
        except Corrupted:
            self._store.delete(_key(digest))


def digest_of(info: ObjectInfo) -> Digest:
    """The digest that a listed blob is stored under."""
    return Digest("sha256:" + info.key.removeprefix(PREFIX).replace("/", ""))


def check_tree(files: Iterable[TreeFile]) -> None:
    """`Invalid(bad_tree)` unless all paths are relative, stay below their folder and can be there together."""
    seen: set[str] = set()
    folders: set[str] = set()
    for file in files:
        path = check_tree_path(file.path)
        if path in seen or path in folders:
            raise _bad_path(path, "is there twice")
        seen.add(path)
        folders.update(str(parent) for parent in PurePosixPath(path).parents)
        if seen & {str(parent) for parent in PurePosixPath(path).parents}:
            raise _bad_path(path, "has a file as its folder")


def check_tree_path(path: str) -> str:
    """The path, if it is relative, printable and stays below its folder; otherwise `Invalid(bad_tree)`."""
    if not path or len(path.encode(errors="surrogatepass")) > MAX_TREE_PATH or not path.isprintable():
        raise _bad_path(path, "is not 1 to 1024 bytes of printable text")
    if path.startswith("/") or "\\" in path:
        raise _bad_path(path, "is not a relative path with /")
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise _bad_path(path, "would leave its folder")
    return path


def _tree_paths(directory: Path) -> Iterator[str]:
    try:
        if not stat.S_ISDIR(directory.lstat().st_mode):
            raise _bad_path(directory.name, "is not a folder")
        for folder, subfolders, names in os.walk(directory, onerror=_raise):
            here = Path(folder)
            for name in (*subfolders, *names):
                path = (here / name).relative_to(directory).as_posix()
                mode = (here / name).lstat().st_mode
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    raise _bad_path(path, "is a link or a device; only files and folders can be stored")
                if stat.S_ISREG(mode):
                    yield check_tree_path(path)
    except OSError as error:
        raise disk_error(error, f"reading {directory.name}") from error


def _raise(error: OSError) -> None:
    raise error


def _identity(path: Path) -> tuple[int, int, int, int]:
    try:
        status = path.lstat()
    except OSError as error:
        raise disk_error(error, f"reading {path.name} to store it") from error
    if not stat.S_ISREG(status.st_mode):
        raise _bad_path(path.name, "is a link or a device; only files can be stored")
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _key(digest: str) -> str:
    if not _DIGEST.match(digest):
        raise Invalid(f"{digest[:80]!r} is not a digest; expected sha256: and 64 hex digits", code="bad_digest")
    text = digest.removeprefix("sha256:")
    return f"{PREFIX}{text[:2]}/{text[2:]}"


def _corrupted(digest: str, found: str) -> Corrupted:
    return Corrupted(
        f"the stored bytes of {digest} have the digest {found}; restore this blob from a backup",
        expected=digest,
        found=found,
    )


def _bad_path(path: str, why: str) -> Invalid:
    shown = path if len(path) <= 80 else path[:77] + "..."
    issue = Issue(where="path", message=f"{shown!r} {why}", code="bad_tree")
    return Invalid(f"path {shown!r} {why}", code="bad_tree", issues=[issue])
