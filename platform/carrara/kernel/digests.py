"""Digests: `sha256:<64 hex digits>`, over bytes or over the one canonical JSON form of a value."""

import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO, NewType

Digest = NewType("Digest", str)

DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
_BLOCK_BYTES = 1 << 20


def canonical_json(value: Any) -> bytes:
    """One byte string for one value: sorted keys, no spaces, UTF-8; NaN and Infinity are a ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_bytes(data: bytes | memoryview) -> Digest:
    """The digest of these bytes."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def digest_json(value: Any) -> Digest:
    """The digest of the canonical JSON of `value`."""
    return digest_bytes(canonical_json(value))


def digest_stream(stream: BinaryIO) -> tuple[Digest, int]:
    """The digest and the length in bytes of what is left in `stream`."""
    hasher = hashlib.sha256()
    length = 0
    while block := stream.read(_BLOCK_BYTES):
        hasher.update(block)
        length += len(block)
    return Digest("sha256:" + hasher.hexdigest()), length


def digest_file(path: Path) -> tuple[Digest, int]:
    """The digest and the length in bytes of a file."""
    with path.open("rb") as stream:
        return digest_stream(stream)
