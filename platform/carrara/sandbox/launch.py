"""Starts the forkserver's process and waits until it is ready."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import msgspec

from carrara.kernel.errors import Unavailable
from carrara.sandbox import frames
from carrara.sandbox.domain import Capabilities
from carrara.sandbox.levels import bootstrap_code

_START_SECONDS = 120.0
_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class LaunchPlan:
    """What a forkserver is started with. `environment` is all that it and its children will have."""

    preload: tuple[str, ...]
    runtime_dir: Path
    environment: Mapping[str, str]
    interpreter: str = sys.executable


@dataclass
class ForkserverProcess:
    """A running forkserver. `line` takes one byte and some descriptors for each child; hold `lock` to write to it."""

    process: subprocess.Popen[bytes]
    line: socket.socket
    capabilities: Capabilities
    lock: threading.Lock

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """Closes the line, on which it ends its children and itself; kills it if it does not."""
        self.line.close()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def default_environment() -> dict[str, str]:
    """What libraries must find at their import: nothing of ours, and nothing that is secret."""
    return {
        "LANG": "C.UTF-8",
        "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads made four fits on two cores take 12 s instead of 0.1
        "LOKY_MAX_CPU_COUNT": str(len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1),
        "GIT_PYTHON_REFRESH": "quiet",  # MLflow asks git for a commit; in a child there is no git to be run
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def launch(plan: LaunchPlan) -> ForkserverProcess:
    """Starts a forkserver. Unavailable, with what it said, if it does not become ready."""
    line, far_end = socket.socketpair()
    with far_end:
        statement = f"from carrara.sandbox.server import main; main({far_end.fileno()}, {os.getpid()}, "
        statement += f"{str(plan.runtime_dir)!r}, {list(plan.preload)!r})"
        arguments = [plan.interpreter, "-I", "-c", bootstrap_code(statement), "carrara-forkserver"]
        process = _keeper().start_process(arguments, plan.environment, far_end.fileno())
    try:
        message = _first_message(line)
        if "error" in message:
            raise Unavailable(f"the forkserver could not start: {message['error']}")
        capabilities = msgspec.convert(message["capabilities"], Capabilities)
    except BaseException:
        line.close()
        process.kill()
        process.wait()
        raise
    line.settimeout(None)
    return ForkserverProcess(process, line, capabilities, threading.Lock())


def _first_message(line: socket.socket) -> dict[str, object]:
    reader = frames.FrameReader()
    line.settimeout(_START_SECONDS)
    while True:
        try:
            data = line.recv(1 << 16)
        except TimeoutError as error:
            raise Unavailable(f"the forkserver was not ready within {_START_SECONDS:g} s") from error
        if not data:
            raise Unavailable("the forkserver died while it started; its standard error says why")
        if payloads := reader.feed(data):
            return frames.decode_message(payloads[0])


class _Keeper:
    """A thread that starts processes and lives as long as this process does.

    The kernel sends a parent-death signal when the *thread* that forked ends: a forkserver started from a pool's
    thread would die with that.
    """

    def __init__(self) -> None:
        self.owner_pid = os.getpid()
        self._wishes: SimpleQueue[tuple[Sequence[str], Mapping[str, str], int, Future[subprocess.Popen[bytes]]]]
        self._wishes = SimpleQueue()
        threading.Thread(target=self._run, name="sandbox-keeper", daemon=True).start()

    def start_process(self, arguments: Sequence[str], environment: Mapping[str, str], descriptor: int) -> "_Process":
        answer: Future[subprocess.Popen[bytes]] = Future()
        self._wishes.put((arguments, environment, descriptor, answer))
        return answer.result()

    def _run(self) -> None:
        while True:
            arguments, environment, descriptor, answer = self._wishes.get()
            try:
                process = subprocess.Popen(
                    arguments,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(descriptor,),
                    start_new_session=True,  # Ctrl-C is for its parent, which then ends it in order
                    cwd="/",
                )
            except OSError as error:
                answer.set_exception(Unavailable(f"the forkserver could not be started: {error}"))
            else:
                answer.set_result(process)


_Process = subprocess.Popen[bytes]
_keepers: list[_Keeper] = []
_keepers_lock = threading.Lock()


def _keeper() -> _Keeper:
    """This process's keeper; a fork of a process has no threads of its parent's, so it gets another."""
    with _keepers_lock:
        if not _keepers or _keepers[-1].owner_pid != os.getpid():
            with contextlib.suppress(IndexError):
                _keepers.pop()
            _keepers.append(_Keeper())
        return _keepers[-1]
