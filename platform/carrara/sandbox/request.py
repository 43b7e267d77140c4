"""What the client asks of the forkserver, and the descriptors that go with it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from carrara.sandbox.domain import ChildTask

# One byte on the line carries these descriptors, in this order.
SPAWN = b"s"
DESCRIPTORS = ("control", "channel", "output", "request")


@dataclass(frozen=True)
class SpawnRequest:
    """`scratch` is the child's HOME and TMPDIR, made by the client, which also removes it."""

    task: ChildTask
    scratch: Path


def _decode_path(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(kind)


def encode_request(request: SpawnRequest) -> bytes:
    """TypeError if the task's argument is not JSON-able."""
    return msgspec.msgpack.encode(request, enc_hook=_encode_path)


def _encode_path(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a child's task cannot carry a {type(value).__name__}: expected what JSON can hold")


def decode_request(data: bytes) -> SpawnRequest:
    return msgspec.msgpack.decode(data, type=SpawnRequest, dec_hook=_decode_path)
