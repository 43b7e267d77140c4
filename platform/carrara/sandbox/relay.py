"""Lets a child without a network reach one address: TCP bytes from a listener in its network namespace and back."""

import contextlib
import selectors
import socket
import threading
from dataclasses import dataclass, field

_CHUNK_BYTES = 1 << 16
_MAX_WAITING_BYTES = 1 << 18
_MAX_CONNECTIONS = 64
_CONNECT_SECONDS = 10.0


@dataclass(eq=False)
class _Pipe:
    """One direction of one connection: what was read from `source` and not yet written to `sink`."""

    source: socket.socket
    sink: socket.socket
    waiting: bytearray = field(default_factory=bytearray)
    source_ended: bool = False
    is_done: bool = False

    def wants_read(self) -> bool:
        return not self.source_ended and len(self.waiting) < _MAX_WAITING_BYTES

    def read(self) -> None:
        data = self.source.recv(_CHUNK_BYTES)
        self.waiting += data
        self.source_ended = not data

    def write(self) -> None:
        if self.waiting:
            sent = self.sink.send(self.waiting)
            del self.waiting[:sent]
        if self.source_ended and not self.waiting and not self.is_done:
            self.is_done = True
            self.sink.shutdown(socket.SHUT_WR)


class Relay:
    """Serves one child from a thread of its own until `close`. Every connection goes to `address` and nowhere else."""

    def __init__(self, listener: socket.socket, address: tuple[str, int]) -> None:
        self._listener = listener
        self._address = address
        self._selector = selectors.DefaultSelector()
        self._pipes: dict[socket.socket, tuple[_Pipe, _Pipe]] = {}  # by either end: (what it feeds, what feeds it)
        self._stop_end, self._stop = socket.socketpair()
        listener.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="sandbox-relay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends all connections and the thread."""
        self._stop.close()
        self._thread.join()

    def _run(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._stop_end, selectors.EVENT_READ)
        while True:
            for key, events in self._selector.select():
                end = key.fileobj
                if end is self._stop_end:
                    self._close_all()
                    return
                if end is self._listener:
                    self._accept()
                elif isinstance(end, socket.socket) and end in self._pipes:
                    self._move(end, events)

    def _accept(self) -> None:
        try:
            inner, _ = self._listener.accept()
        except OSError:
            return
        if len(self._pipes) >= 2 * _MAX_CONNECTIONS:
            inner.close()
            return
        try:
            outer = socket.create_connection(self._address, timeout=_CONNECT_SECONDS)
        except OSError:
            inner.close()  # the child sees a reset connection, as it would without us
            return
        for end in (inner, outer):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        there, back = _Pipe(inner, outer), _Pipe(outer, inner)
        self._pipes[inner] = (there, back)
        self._pipes[outer] = (back, there)
        for end in (inner, outer):
            self._selector.register(end, selectors.EVENT_READ)

    def _move(self, end: socket.socket, events: int) -> None:
        feeds, fed_by = self._pipes[end]
        try:
            if events & selectors.EVENT_READ and feeds.wants_read():
                feeds.read()
            for pipe in (feeds, fed_by):
                with contextlib.suppress(BlockingIOError):
                    pipe.write()
        except BlockingIOError:
            pass
        except OSError:
            self._drop(end)
            return
        if feeds.is_done and fed_by.is_done:
            self._drop(end)
            return
        for side in (feeds.source, feeds.sink):
            self._register(side)

    def _register(self, end: socket.socket) -> None:
        feeds, fed_by = self._pipes[end]
        events = selectors.EVENT_READ if feeds.wants_read() else 0
        events |= selectors.EVENT_WRITE if fed_by.waiting else 0
        known = self._selector.get_map().get(end)
        if known is None:
            if events:
                self._selector.register(end, events)
        elif not events:
            self._selector.unregister(end)
        elif known.events != events:
            self._selector.modify(end, events)

    def _drop(self, end: socket.socket) -> None:
        feeds, _ = self._pipes[end]
        for side in (feeds.source, feeds.sink):
            self._pipes.pop(side, None)
            with contextlib.suppress(KeyError):
                self._selector.unregister(side)
            side.close()

    def _close_all(self) -> None:
        for end in list(self._pipes):
            if end in self._pipes:
                self._drop(end)
        self._selector.close()
        self._listener.close()
        self._stop_end.close()
