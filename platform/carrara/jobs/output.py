"""A job's output, cut into chunks that the log table can hold. Pure: bytes in, pieces of text out."""

import codecs

CHUNK_BYTES = 64 << 10
MAX_LOG_BYTES = 8 << 20
TAIL_BYTES = 32 << 10


class OutputChunks:
    """Takes what a child printed, as it comes, and gives text of at most 64 KiB a piece.

    Past `max_bytes` only the end is kept: a traceback comes last. Bytes that are no UTF-8, and NUL, which Postgres
    refuses, become U+FFFD.
    """

    def __init__(self, max_bytes: int = MAX_LOG_BYTES, tail_bytes: int = TAIL_BYTES) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._room = max_bytes
        self._tail_bytes = tail_bytes
        self._tail = bytearray()
        self._dropped = 0
        self._text: list[str] = []
        self._max_bytes = max_bytes

    def add(self, data: bytes) -> None:
        """Takes the next bytes."""
        taken, rest = data[: self._room], data[self._room :]
        if taken:
            self._room -= len(taken)
            self._text.append(_clean(self._decoder.decode(taken)))
        if rest:
            if not (self._dropped or self._tail):
                self._text.append(_note(f"more than {self._max_bytes} bytes; from here only the end is kept"))
            self._tail += rest
            over = max(len(self._tail) - self._tail_bytes, 0)
            self._dropped += over
            del self._tail[:over]

    def take(self) -> list[str]:
        """The pieces that have come since the last call."""
        text = "".join(self._text)
        self._text.clear()
        return _pieces(text)

    def finish(self) -> list[str]:
        """What is left, when nothing more will come."""
        self._text.append(_clean(self._decoder.decode(b"", final=True)))
        if self._dropped:
            self._text.append(_note(f"{self._dropped} bytes were dropped here"))
        if self._tail:
            self._text.append(_clean(bytes(self._tail).decode("utf-8", errors="replace")))
            self._tail.clear()
        return self.take()


def _pieces(text: str) -> list[str]:
    """`text` in pieces of at most CHUNK_BYTES bytes of UTF-8, cut between characters."""
    pieces = []
    while text:
        piece = text[:CHUNK_BYTES]
        if not piece.isascii():
            piece = piece.encode()[:CHUNK_BYTES].decode(errors="ignore")
        pieces.append(piece)
        text = text[len(piece) :]
    return pieces


def _clean(text: str) -> str:
    return text.replace("\x00", "\ufffd")


def _note(text: str) -> str:
    return f"\n[carrara: {text}]\n"
