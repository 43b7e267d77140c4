"""The parent's side: start a forkserver, and have it make confined children."""

import contextlib
import os
import socket
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from carrara.kernel.errors import Refused, Unavailable
from carrara.sandbox import frames
from carrara.sandbox.domain import Capabilities, ChildTask
from carrara.sandbox.handle import Child, Ends, News
from carrara.sandbox.launch import ForkserverProcess, LaunchPlan, default_environment, launch
from carrara.sandbox.relay import Relay
from carrara.sandbox.request import SPAWN, SpawnRequest, encode_request
from carrara.sandbox.scratch import make_scratch, remove_tree, sweep_scratch

__all__ = ["Child", "Forkserver"]

_TRIES = 3
_SPAWN_SECONDS = 60.0


class _LostError(Exception):
    """The forkserver died before it had told us of a child; none has begun then."""


class Forkserver:
    """Makes children from one process that has imported what they need. Safe to use from several threads.

    A forkserver that dies takes its children with it; the next `spawn` starts another.
    """

    def __init__(self, plan: LaunchPlan) -> None:
        self._plan = plan
        self._lock = threading.Lock()
        self._process: ForkserverProcess | None = None
        self._owner_pid = os.getpid()
        self._is_closed = False

    @classmethod
    def start(
        cls, preload: Sequence[str], *, runtime_dir: Path, environment: Mapping[str, str] | None = None
    ) -> "Forkserver":
        """A forkserver that has imported the modules of `preload`; takes as long as they do (mlflow: 2 to 4 s).

        `runtime_dir` is made if it is absent and holds the private folders of the children. `environment` is added to
        what it and all children see: no secrets. Unavailable if it cannot start or an import fails.
        """
        folder = runtime_dir.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)  # children with their own uid must reach their folder
        sweep_scratch(folder)
        plan = LaunchPlan(tuple(preload), folder, {**default_environment(), **(environment or {})})
        forkserver = cls(plan)
        forkserver._running_process()
        return forkserver

    @property
    def pid(self) -> int:
        """The pid of the forkserver of now."""
        return self._running_process().pid

    @property
    def capabilities(self) -> Capabilities:
        """What can hold a child here, as the forkserver found it."""
        return self._running_process().capabilities

    def spawn(self, task: ChildTask, *, max_frame_bytes: int = frames.MAX_FRAME_BYTES) -> Child:
        """A child that is confined and about to run the entry; 15 to 25 ms.

        Refused if it cannot be held as the task wants (`facts["missing"]` lists layers and reasons) or a step fails;
        Unavailable if there is no forkserver to be had. `max_frame_bytes` is the largest frame accepted from it.
        """
        for _ in range(_TRIES):
            process = self._running_process()
            try:
                return self._spawn_on(process, task, max_frame_bytes)
            except _LostError:
                self._discard(process)
        raise Unavailable(f"the forkserver died {_TRIES} times while a child was being made")

    def close(self) -> None:
        """Ends the forkserver and all its children."""
        with self._lock:
            self._is_closed = True
            process, self._process = self._process, None
        if process is not None and self._owner_pid == os.getpid():
            process.stop()

    def __enter__(self) -> "Forkserver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _running_process(self) -> ForkserverProcess:
        with self._lock:
            if self._is_closed:
                raise Unavailable("the forkserver was closed")
            if self._owner_pid != os.getpid():  # we are a fork: the line is our parent's
                self._process, self._owner_pid = None, os.getpid()
            if self._process is not None and self._process.process.poll() is not None:
                self._process.line.close()
                self._process = None
            if self._process is None:
                self._process = launch(self._plan)
            return self._process

    def _discard(self, process: ForkserverProcess) -> None:
        with self._lock:
            if self._process is process:
                self._process = None
                process.stop()

    def _spawn_on(self, process: ForkserverProcess, task: ChildTask, max_frame_bytes: int) -> Child:
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            scratch = make_scratch(self._plan.runtime_dir)
            ours.callback(remove_tree, scratch)
            request = theirs.enter_context(_request_file(SpawnRequest(task, scratch)))
            control, far_control = socket.socketpair()
            channel, far_channel = socket.socketpair()
            reading, writing = os.pipe()
            for end in (control, channel):
                ours.enter_context(end)
            for end in (far_control, far_channel):
                theirs.enter_context(end)
            ours.callback(os.close, reading)
            theirs.callback(os.close, writing)
            os.set_blocking(reading, False)
            try:
                with process.lock:
                    descriptors = [far_control.fileno(), far_channel.fileno(), writing, request.fileno()]
                    socket.send_fds(process.line, [SPAWN], descriptors)
            except OSError as error:
                raise _LostError from error
            theirs.close()
            started, relay, news = _await_start(control, task, ours)
            child = Child(
                started["pid"],
                Ends(control, channel, reading, scratch, relay),
                layers=frozenset(started["layers"]),
                max_frame_bytes=max_frame_bytes,
                news=news,
            )
            ours.pop_all()
            return child


def _await_start(
    control: socket.socket, task: ChildTask, ours: contextlib.ExitStack
) -> tuple[dict[str, Any], Relay | None, News]:
    """What the forkserver says of the new child, its relay if it has one, and what was said behind that."""
    reader = frames.FrameReader()
    relay: Relay | None = None
    control.settimeout(_SPAWN_SECONDS)
    while True:
        try:
            data, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 1)
        except TimeoutError as error:
            raise Unavailable(f"the forkserver made no child within {_SPAWN_SECONDS:g} s") from error
        except OSError as error:
            raise _LostError from error
        if descriptors and task.platform_address is not None:
            relay = Relay(socket.socket(fileno=descriptors[0]), task.platform_address)
            ours.callback(relay.close)
        if not data:
            raise _LostError
        payloads = reader.feed(data)
        for number, payload in enumerate(payloads, 1):
            message = frames.decode_message(payload)
            if message["event"] == "started":
                return message, relay, News(reader, tuple(payloads[number:]))
            if message["event"] == "refused":
                raise Refused(message["message"], code="sandbox_refused", missing=message["missing"])


def _request_file(request: SpawnRequest) -> BinaryIO:
    data = encode_request(request)
    file = tempfile.TemporaryFile()  # noqa: SIM115  # the caller closes it
    file.write(data)
    file.flush()
    return file
