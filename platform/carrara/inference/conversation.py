"""Messages with one child over its stream socket, on the event loop."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from carrara.sandbox.frames import MAX_FRAME_BYTES, FrameError, FrameReader, decode_message, encode_message

Message = dict[str, Any]
_FIRST_MESSAGE_BYTES = 1 << 20


@dataclass(frozen=True)
class ChildEnded:
    """The stream is over. `fault`: what the child sent that is no message, or empty if it just went."""

    fault: str = ""


class Conversation(asyncio.Protocol):
    """Reads messages for one listener. The first one is kept until it is asked for."""

    def __init__(self) -> None:
        self.first: asyncio.Future[Message | ChildEnded] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader(_FIRST_MESSAGE_BYTES)
        self._heard: Callable[[Message], None] | None = None
        self._lost: Callable[[ChildEnded], None] | None = None
        self._end: ChildEnded | None = None

    @staticmethod
    async def open(stream: socket.socket) -> "Conversation":
        """Takes the socket over, and closes it in the end."""
        stream.setblocking(False)
        loop = asyncio.get_running_loop()
        _, conversation = await loop.create_unix_connection(Conversation, sock=stream)
        return conversation

    def listen(self, heard: Callable[[Message], None], lost: Callable[[ChildEnded], None]) -> None:
        """From now on every message goes to `heard`; `lost` is called once, at the end, and nothing after it."""
        self._heard, self._lost = heard, lost
        if self._end is not None:
            asyncio.get_running_loop().call_soon(lost, self._end)

    def send(self, message: Message, *, max_reply_bytes: int) -> None:
        """Asks something. An answer over `max_reply_bytes` is a fault: a hostile child must not fill our memory."""
        if self._transport is not None and self._end is None:
            if self._reader.is_between_frames:
                self._reader = FrameReader(min(max_reply_bytes, MAX_FRAME_BYTES))
            self._transport.write(encode_message(message))

    def close(self) -> None:
        """Ends it from our side; `lost` is not called."""
        self._lost = None
        self._finish(ChildEnded())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from asyncio's

    def data_received(self, data: bytes) -> None:
        if self._end is not None:
            return
        try:
            messages = [decode_message(payload) for payload in self._reader.feed(data)]
        except (FrameError, msgspec.MsgspecError) as error:
            self._finish(ChildEnded(f"it sent what is no message: {error}"))
            return
        for message in messages:
            if not self.first.done():
                self.first.set_result(message)
            elif self._heard is not None:
                self._heard(message)
            else:
                self._finish(ChildEnded("it sent a second message before it was asked"))
                return

    def connection_lost(self, _: Exception | None) -> None:
        self._finish(ChildEnded())

    def _finish(self, end: ChildEnded) -> None:
        if self._end is not None:
            return
        self._end = end
        if self._transport is not None:
            self._transport.abort()
        if not self.first.done():
            self.first.set_result(end)
        if self._lost is not None:
            self._lost(end)
