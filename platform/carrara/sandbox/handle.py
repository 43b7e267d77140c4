"""A child as its parent sees it."""

import os
import select
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from carrara.sandbox import frames
from carrara.sandbox.domain import ChildExit, ExitKind
from carrara.sandbox.relay import Relay
from carrara.sandbox.scratch import remove_tree

_READ_BYTES = 1 << 18


@dataclass(frozen=True)
class Ends:
    """Our ends of everything that leads to a child."""

    control: socket.socket
    channel: socket.socket
    output: int
    scratch: Path
    relay: Relay | None


@dataclass(frozen=True)
class News:
    """What came with the message of the start: a child may have ended before we looked."""

    reader: frames.FrameReader
    payloads: tuple[bytes, ...]


class Child:
    """A running child. To be used by one thread at a time; `close` it, or use it in a `with` block.

    Its output must be read: a child whose output pipe is full waits. Closing the handle ends the child.
    """

    def __init__(
        self, pid: int, ends: Ends, *, layers: frozenset[str], max_frame_bytes: int, news: News | None = None
    ) -> None:
        self.pid = pid
        self.layers = layers
        self._ends = ends
        self._reader = frames.FrameReader(max_frame_bytes)
        self._frames: list[bytes] = []
        self._control_reader = news.reader if news else frames.FrameReader()
        self._exit: ChildExit | None = None
        self._is_closed = False
        ends.channel.setblocking(False)
        ends.control.setblocking(False)
        for payload in news.payloads if news else ():
            self._hear(payload)

    @property
    def scratch(self) -> Path:
        """The child's own folder, its HOME; it may write there."""
        return self._ends.scratch

    def fileno(self) -> int:
        """The channel, for selectors: readable when `receive(0)` may give something."""
        return self._ends.channel.fileno()

    def output_fileno(self) -> int:
        """The reading end of the child's standard output and error; does not block."""
        return self._ends.output

    def exit_fileno(self) -> int:
        """Readable when `wait(0)` gives the exit."""
        return self._ends.control.fileno()

    def send(self, payload: bytes | bytearray | memoryview, timeout: float | None = None) -> None:
        """Sends one frame. BrokenPipeError if the child is gone, TimeoutError if it does not read in time.

        After TimeoutError part of the frame may be on its way: the child is of no more use.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        waiting = memoryview(frames.encode(payload))
        while waiting:
            try:
                waiting = waiting[self._ends.channel.send(waiting) :]
            except BlockingIOError:
                _await(self._ends.channel.fileno(), select.POLLOUT, deadline)

    def receive(self, timeout: float | None = None) -> bytes | None:
        """The next frame; None when the child will send no more. TimeoutError if none comes in `timeout` seconds.

        FrameError if it is too large or cut off; the child is killed then.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._frames:
            try:
                data = self._ends.channel.recv(_READ_BYTES)
            except BlockingIOError:
                _await(self._ends.channel.fileno(), select.POLLIN, deadline)
                continue
            except ConnectionResetError:
                data = b""
            try:
                if not data:
                    self._reader.finish()
                    return None
                self._frames = self._reader.feed(data)[::-1]
            except frames.FrameError as error:
                self.kill(f"it sent what is no frame: {error}")
                raise
        return self._frames.pop()

    def read_output(self) -> bytes | None:
        """What the child has written since the last call; b"" if nothing, None when it will write no more."""
        try:
            return os.read(self._ends.output, _READ_BYTES) or None
        except BlockingIOError:
            return b""

    def kill(self, reason: str) -> None:
        """Ends the child and all that it started: CANCELLED with `reason`, unless it has ended already."""
        if self._exit is None:
            try:
                self._ends.control.send(frames.encode_message({"kill": reason}))
            except OSError:  # the forkserver is gone and has taken the child with it
                return

    def wait(self, timeout: float | None = None) -> ChildExit | None:
        """How the child ended; None if it still runs after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._exit is None:
            try:
                data = self._ends.control.recv(_READ_BYTES)
            except BlockingIOError:
                try:
                    _await(self._ends.control.fileno(), select.POLLIN, deadline)
                except TimeoutError:
                    return None
                continue
            except ConnectionResetError:
                data = b""
            self._take(data)
        return self._exit

    def close(self) -> None:
        """Ends the child if it runs and lets go of everything."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._exit is None:
            self.kill("its parent let go of it")
            self._exit = self.wait(_CLOSE_SECONDS) or ChildExit(ExitKind.LOST, message="it did not end in time")
        self._ends.control.close()
        self._ends.channel.close()
        os.close(self._ends.output)
        self._let_go()

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, data: bytes) -> None:
        if not data:
            self._exit = ChildExit(ExitKind.LOST, message="the forkserver died, and the child with it")
        for payload in self._control_reader.feed(data):
            self._hear(payload)
        if self._exit is not None:
            self._let_go()

    def _hear(self, payload: bytes) -> None:
        message = frames.decode_message(payload)
        if message.pop("event") == "exit":
            self._exit = ChildExit(**{**message, "kind": ExitKind(message["kind"])})

    def _let_go(self) -> None:
        if self._ends.relay is not None:
            self._ends.relay.close()
        remove_tree(self._ends.scratch)


_CLOSE_SECONDS = 10.0


def _await(descriptor: int, event: int, deadline: float | None) -> None:
    """Waits until the descriptor is ready; TimeoutError at the deadline."""
    poll = select.poll()
    poll.register(descriptor, event)
    milliseconds = None if deadline is None else max(0.0, (deadline - time.monotonic()) * 1000)
    if not poll.poll(milliseconds):
        raise TimeoutError("the child did not answer in time")
