"""The child's side: the channel that an entry is given, and the run of the entry."""

import atexit
import contextlib
import importlib
import mmap
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, NoReturn

import msgspec

from carrara.sandbox import frames

MAX_REPORT_BYTES = 64 << 10
_MAX_TRACEBACK = 10_000  # characters: at most four bytes each
_MAX_MESSAGE = 4_000
_READ_BYTES = 1 << 18
_RAISED_CODE = 1


class ChildChannel:
    """Frames to and from the parent. Sending is safe from several threads, receiving from one."""

    def __init__(self, descriptor: int, argument: Mapping[str, Any]) -> None:
        self.argument = argument
        self._socket = socket.socket(fileno=descriptor)
        self._reader = frames.FrameReader((1 << 32) - 1)  # what the parent sends is trusted
        self._ready: list[bytes] = []
        self._sending = threading.Lock()

    def send(self, payload: bytes | bytearray | memoryview) -> None:
        """Sends one frame; waits while the parent is slow. BrokenPipeError when it has gone."""
        with self._sending:
            self._socket.sendall(frames.encode(payload))

    def emit(self, event: Mapping[str, Any]) -> None:
        """Sends one frame that holds `event` as a msgpack map."""
        self.send(msgspec.msgpack.encode(event))

    def receive(self) -> bytes | None:
        """The next frame; None when the parent sends no more."""
        while not self._ready:
            data = self._socket.recv(_READ_BYTES)
            if not data:
                self._reader.finish()
                return None
            self._ready = self._reader.feed(data)[::-1]
        return self._ready.pop()


def run_entry(entry: str, channel: ChildChannel, report: mmap.mmap) -> NoReturn:
    """Runs the entry and leaves the process. `report` is shared memory in which the forkserver reads how it went."""
    try:
        _load(entry)(channel)
    except SystemExit as error:
        code, message = _exit_code(error)
        _leave(code, report, {"kind": "exited", "message": message})
    except BaseException as error:  # noqa: BLE001  # whatever the user's code throws is the answer
        _leave(_RAISED_CODE, report, _describe(error))
    _leave(0, report, {"kind": "finished"})


def _load(entry: str) -> Callable[[ChildChannel], object]:
    module_name, _, name = entry.partition(":")
    function = importlib.import_module(module_name)
    for part in name.split("."):
        function = getattr(function, part)
    return function  # type: ignore[return-value]  # a wrong entry is the caller's error and is reported as raised


def _leave(code: int, report: mmap.mmap, outcome: dict[str, Any]) -> NoReturn:
    """Exit hooks of the user's code, then out, without waiting for its threads."""
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    with contextlib.suppress(Exception):
        frame = frames.encode_message(outcome)
        report[: len(frame)] = frame
    os._exit(code)


def _exit_code(error: SystemExit) -> tuple[int, str]:
    """As the interpreter does it: None is 0, an integer its low byte, anything else a message and 1."""
    if error.code is None:
        return 0, ""
    if isinstance(error.code, int):
        return error.code & 0xFF, ""
    return 1, _shortened(str(error.code), _MAX_MESSAGE)


def _describe(error: BaseException) -> dict[str, Any]:
    try:
        message = str(error)
    except Exception:  # noqa: BLE001  # the user's own __str__
        message = "(its message could not be made)"
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        text = "".join(traceback.format_exception(kind, error, _below_us(error.__traceback__)))
    except Exception:  # noqa: BLE001  # it calls the user's __str__ too
        text = "".join(traceback.format_tb(error.__traceback__))
    return {
        "kind": "raised",
        "memory_error": isinstance(error, MemoryError),
        "error_type": name[:300],
        "message": _shortened(message, _MAX_MESSAGE),
        "traceback": _shortened(text, _MAX_TRACEBACK),
    }


def _below_us(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the entry on; all of it if the error arose before the entry was reached."""
    return trace.tb_next if trace is not None and trace.tb_next is not None else trace


def _shortened(text: str, length: int) -> str:
    """At most `length` characters, encodable, the middle left out: the first and the last lines say most."""
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= length:
        return text
    half = length // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
