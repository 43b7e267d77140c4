"""Frames: four bytes of length, most significant first, then so many bytes. Used between us and every child.

The other side may be hostile: a length is checked before anything is allocated, and nothing is ever unpickled.
"""

from typing import Any

import msgspec

from carrara.kernel.errors import Invalid

HEADER_BYTES = 4
MAX_FRAME_BYTES = 64 << 20
_LARGEST = (1 << 32) - 1


class FrameError(Invalid):
    """The other side sent something that is no frame, or one over the limit. The connection is of no use after it."""

    default_code = "bad_frame"


def encode(payload: bytes | bytearray | memoryview) -> bytes:
    """One frame with this payload, which may be empty."""
    length = len(payload)
    if length > _LARGEST:
        raise FrameError(f"a frame of {length} bytes; at most {_LARGEST} have a length field", length=length)
    return length.to_bytes(HEADER_BYTES, "big") + payload


class FrameReader:
    """Takes bytes as they come and gives whole payloads.

    It holds at most one unfinished frame, so at most `max_bytes` plus one read.
    """

    def __init__(self, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._broken: FrameError | None = None

    @property
    def is_between_frames(self) -> bool:
        """Whether the stream may end here."""
        return not self._buffer

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that are complete with `data`, in order. FrameError as soon as a length is over the limit."""
        if self._broken is not None:
            raise self._broken
        self._buffer += data
        payloads = []
        start = 0
        while len(self._buffer) - start >= HEADER_BYTES:
            length = int.from_bytes(self._buffer[start : start + HEADER_BYTES], "big")
            if length > self._max_bytes:
                self._buffer.clear()
                self._broken = FrameError(
                    f"a frame of {length} bytes was announced; at most {self._max_bytes} are accepted",
                    code="frame_too_large",
                    length=length,
                    limit=self._max_bytes,
                )
                raise self._broken
            end = start + HEADER_BYTES + length
            if len(self._buffer) < end:
                break
            payloads.append(bytes(memoryview(self._buffer)[start + HEADER_BYTES : end]))
            start = end
        del self._buffer[:start]
        return payloads

    def finish(self) -> None:
        """Says that the stream has ended; FrameError if it ended inside a frame."""
        if self._broken is None and self._buffer:
            held = len(self._buffer)
            self._broken = FrameError(f"the stream ended inside a frame, after {held} bytes of it", held=held)
        if self._broken is not None:
            raise self._broken


def encode_message(message: Any) -> bytes:
    """One frame that holds a msgpack value. TypeError for a value that msgpack cannot carry."""
    return encode(msgspec.msgpack.encode(message))


def decode_message(payload: bytes) -> dict[str, Any]:
    """The msgpack map in a payload; FrameError if it is anything else."""
    try:
        return msgspec.msgpack.decode(payload, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise FrameError(f"a frame is no msgpack map with text keys: {error}", length=len(payload)) from error
