"""The forkserver: imports once, then forks confined children on request. One thread, one loop.

Started by `client.Forkserver` with an empty environment; `line` is the descriptor of its socket to the client. It
never calls what it has imported: a parallel region of OpenMP here made children hang (docs/adr/0003).
"""

import contextlib
import gc
import importlib
import os
import platform
import selectors
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from carrara.sandbox import frames, inherited, memory_watch, seccomp, syscalls, warden
from carrara.sandbox.cgroups import Group
from carrara.sandbox.children import Running
from carrara.sandbox.domain import Layer, LayerState
from carrara.sandbox.exposure import machine_trees
from carrara.sandbox.nursery import Host, Nursery, SpawnRefusedError
from carrara.sandbox.probe import probe
from carrara.sandbox.request import DESCRIPTORS, decode_request

_RETRY_SECONDS = 0.5


def main(descriptor: int, client_pid: int, runtime_dir: str, preload: Sequence[str]) -> NoReturn:
    """Runs until the client closes the line or dies. The first message on it says what we found, or what failed."""
    warden.die_with_parent(client_pid)
    line = socket.socket(fileno=descriptor)
    try:
        mount_point = Path(runtime_dir, "view")
        mount_point.mkdir(exist_ok=True)
        capabilities, groups = probe(mount_point)  # before anything is imported that starts threads
        groups.sweep()
        if sys.platform == "linux" and not capabilities.has(Layer.MOUNT_VIEW):
            os.environ["JOBLIB_MULTIPROCESSING"] = (
                "0"  # its thread pools want semaphores in /dev/shm, which is not ours
            )
        for name in preload:
            importlib.import_module(name)
    except BaseException as error:  # noqa: BLE001  # whatever it is, the client must hear of it
        line.sendall(frames.encode_message({"error": f"{type(error).__name__}: {error}"}))
        traceback.print_exc()
        os._exit(1)
    # BLAS and Arrow have threads of their own; they are idle, and the child is told to have one thread only.
    warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*multi-threaded.*fork.*")
    if sys.platform == "linux":
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    if capabilities.has(Layer.SECCOMP):
        seccomp.prepare(platform.machine())
    inherited.prepare_libraries()
    gc.collect()
    gc.disable()
    gc.freeze()
    line.sendall(frames.encode_message({"ready": os.getpid(), "capabilities": capabilities}))
    _Loop(line, Nursery(Host(capabilities, groups, mount_point, machine_trees()))).run()
    os._exit(0)


class _Loop:
    def __init__(self, line: socket.socket, nursery: Nursery) -> None:
        self._line = line
        self._nursery = nursery
        self._selector = selectors.DefaultSelector()
        self._running: dict[int, Running] = {}
        self._groups_to_remove: list[Group] = []
        self._retry_at = float("inf")
        self._is_open = True

    def run(self) -> None:
        woken, waker = os.pipe()
        for descriptor in (woken, waker):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        self._watch(self._line, self._on_line)
        self._watch(woken, lambda: self._on_wake(woken))
        while self._is_open or self._running:
            for key, _ in self._selector.select(self._seconds_to_wait()):
                if key.fd in self._selector.get_map():  # an earlier one of this round may have ended it
                    key.data()
            self._on_time()

    def _watch(self, source: Any, handler: Callable[[], None]) -> None:
        self._selector.register(source, selectors.EVENT_READ, handler)

    def _seconds_to_wait(self) -> float | None:
        due = min((child.next_event() for child in self._running.values()), default=float("inf"))
        due = min(due, self._retry_at)
        return None if due == float("inf") else max(0.0, due - time.monotonic())

    def _on_time(self) -> None:
        now = time.monotonic()
        for child in self._running.values():
            if now >= child.next_event():
                child.on_time(now)
        if now >= self._retry_at:
            self._remove_groups()

    def _on_line(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._line, 1, len(DESCRIPTORS))
        except OSError:
            data, descriptors = b"", []
        if data and len(descriptors) == len(DESCRIPTORS):
            self._spawn(*descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        if not data:  # the client has closed it or is no more
            self._selector.unregister(self._line)
            self._is_open = False
            for child in self._running.values():
                child.end_for_lost_client()

    def _spawn(self, control_fd: int, channel: int, output: int, request_fd: int) -> None:
        control = socket.socket(fileno=control_fd)
        missing: tuple[LayerState, ...] = ()
        try:
            request = decode_request(_read_all(request_fd))
            child = self._nursery.make(request, control, channel, output)
        except SpawnRefusedError as error:
            message, missing = str(error), error.missing
        except (OSError, msgspec.MsgspecError) as error:
            message = f"the child could not be made: {error}"
        else:
            self._running[child.head] = child
            self._watch(control, lambda: self._on_control(child))
            self._watch(child.verdict, lambda: self._on_verdict(child))
            message = ""
        for descriptor in (channel, output, request_fd):
            os.close(descriptor)
        if message:
            named = [[state.layer, state.detail] for state in missing]
            with contextlib.suppress(OSError):
                control.sendall(frames.encode_message({"event": "refused", "message": message, "missing": named}))
            control.close()

    def _on_control(self, child: Running) -> None:
        if not child.on_control():
            self._selector.unregister(child.control)

    def _on_verdict(self, child: Running) -> None:
        if not child.on_verdict():
            self._selector.unregister(child.verdict)

    def _on_wake(self, woken: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(woken, 4096)
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if (child := self._running.pop(pid, None)) is not None:
                self._conclude(child)
        self._kill_strays()

    def _conclude(self, child: Running) -> None:
        for source in (child.control, child.verdict):
            with contextlib.suppress(KeyError):
                self._selector.unregister(source)
        child.conclude()
        if child.group is not None and not child.group.remove():
            self._groups_to_remove.append(child.group)
            self._retry_at = time.monotonic() + _RETRY_SECONDS

    def _remove_groups(self) -> None:
        self._groups_to_remove = [group for group in self._groups_to_remove if not group.remove()]
        self._retry_at = time.monotonic() + _RETRY_SECONDS if self._groups_to_remove else float("inf")

    def _kill_strays(self) -> None:
        """What is left of a child whose warden was killed comes to us as its subreaper."""
        for pid in memory_watch.children_of(os.getpid()):
            if pid not in self._running:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _read_all(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    data = b""
    while len(data) < size and (block := os.pread(descriptor, size - len(data), len(data))):
        data += block
    return data
