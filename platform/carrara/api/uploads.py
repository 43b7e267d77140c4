"""Bodies that are too large for memory: streamed to a file in a folder that is gone whatever happens."""

import base64
import contextlib
import hashlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from carrara.kernel.digests import Digest
from carrara.kernel.errors import Invalid, TooLarge
from carrara.storage.disk import disk_error

STALE_SECONDS = 3600.0
_PREFIX = "upload-"
_BUFFER_BYTES = 4 << 20


@dataclass(frozen=True)
class Upload:
    """A body that has arrived whole. `folder` is its own, for whatever is made of it."""

    folder: Path
    path: Path
    size: int
    digest: Digest


@contextlib.asynccontextmanager
async def received(request: Request, folder: Path, *, max_bytes: int) -> AsyncIterator[Upload]:
    """The request's body as a file below `folder`, removed after the block.

    `TooLarge` before more than `max_bytes` are read, `Invalid(upload_cut)` when the client went away,
    `Invalid(upload_damaged)` when a `Content-Digest` (RFC 9530, sha-256) does not match.
    """
    expected = _expected_digest(request)
    _check_length(request, max_bytes)
    own = await run_in_threadpool(_new_folder, folder)
    try:
        path = own / "body"
        hasher = hashlib.sha256()
        size = await _write(request, path, hasher, max_bytes)
        if expected is not None and hasher.digest() != expected:
            raise Invalid("the body is not what Content-Digest says; upload it again", code="upload_damaged")
        yield Upload(own, path, size, Digest("sha256:" + hasher.hexdigest()))
    finally:
        await run_in_threadpool(shutil.rmtree, own, ignore_errors=True)


def sweep(folder: Path, *, older_than_seconds: float = STALE_SECONDS) -> int:
    """Removes what uploads left whose process was killed; how many. Nothing that was touched since is removed."""
    swept = 0
    for own in folder.glob(_PREFIX + "*"):
        with contextlib.suppress(FileNotFoundError):
            touched = max(path.stat().st_mtime for path in (own, *own.rglob("*")))
            if time.time() - touched > older_than_seconds:
                shutil.rmtree(own, ignore_errors=True)
                swept += 1
    return swept


def _new_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))
    except OSError as error:
        raise disk_error(error, "making room for the upload") from error


async def _write(request: Request, path: Path, hasher: "hashlib._Hash", max_bytes: int) -> int:
    size = 0
    buffer = bytearray()

    def flush() -> None:
        hasher.update(buffer)
        stream.write(buffer)
        buffer.clear()

    try:
        with path.open("wb") as stream:
            async for block in request.stream():
                size += len(block)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                buffer += block
                if len(buffer) >= _BUFFER_BYTES:
                    await run_in_threadpool(flush)
            await run_in_threadpool(flush)
    except ClientDisconnect as error:
        raise Invalid(
            f"the upload was cut after {size} bytes; nothing was registered, upload it again", code="upload_cut"
        ) from error
    except OSError as error:
        raise disk_error(error, "receiving the upload", needed_bytes=_length(request)) from error
    return size


def _check_length(request: Request, max_bytes: int) -> None:
    length = _length(request)
    if length is not None and length > max_bytes:
        raise _too_large(max_bytes)


def _length(request: Request) -> int | None:
    text = request.headers.get("content-length", "")
    return int(text) if text.isdecimal() else None


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(
        f"the body is over {max_bytes} bytes; compress it, or raise CARRARA_MAX_UPLOAD_BYTES", limit=max_bytes
    )


def _expected_digest(request: Request) -> bytes | None:
    """The bytes of `Content-Digest: sha-256=:<base64>:`; None without one. Other algorithms are passed over."""
    for member in request.headers.get("content-digest", "").split(","):
        name, _, value = member.strip().partition("=")
        if name.lower() == "sha-256":
            try:
                return base64.b64decode(value.strip(":"), validate=True)
            except ValueError as error:
                raise Invalid("Content-Digest: expected sha-256=:<base64>:", code="bad_header") from error
    return None
