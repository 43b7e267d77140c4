"""The process between the forkserver and a child: it prepares the room, waits for the end and clears up.

In a pid namespace it is process 1, so when it goes everything in there goes. The child is process 2, not 1, since the
kernel drops signals that process 1 sends to itself: `abort()` would not be seen as one.
"""

import contextlib
import mmap
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from carrara.sandbox import confine, frames, inherited, limits, memory_watch, namespaces, syscalls, view
from carrara.sandbox.cgroups import Group
from carrara.sandbox.child import ChildChannel, run_entry
from carrara.sandbox.domain import ChildTask, Layer
from carrara.sandbox.exposure import Exposure, Tree, exposure_of

_RELAY_PORT = "{relay_port}"
_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class Pipes:
    """Descriptors that the forkserver gives. `verdict` is written, `gate` is read."""

    channel: int
    output: int
    control: int
    verdict: int
    gate: int


@dataclass(frozen=True)
class Assignment:
    """One child to be made. `uid` is its own or None; `scratch` its HOME and TMPDIR; `report` memory shared with us."""

    task: ChildTask
    layers: frozenset[Layer]
    machine: tuple[Tree, ...]
    uid: int | None
    scratch: Path
    mount_point: Path
    group: Group | None
    pipes: Pipes
    report: mmap.mmap


def run(assignment: Assignment, server_pid: int) -> NoReturn:
    """Runs the assignment in this freshly forked process and leaves it. What it has to say goes to `verdict`."""
    try:
        inherited.renew_signals()
        _Warden(assignment).run(server_pid)
    except BaseException as error:  # noqa: BLE001  # a step has failed: the child must not run, and we say which
        layer = error.layer if isinstance(error, confine.LayerFailedError) else None
        with contextlib.suppress(OSError):
            _tell(assignment.pipes.verdict, {"refused": f"{type(error).__name__}: {error}", "layer": layer})
    finally:
        os._exit(70)  # never back into the forkserver's loop, of which this process is a copy


def die_with_parent(expected_parent: int | None, number: int = signal.SIGKILL) -> None:
    """Asks for `number` when the parent's thread ends. `expected_parent` is None where its pid cannot be seen."""
    if sys.platform == "linux":
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, number)
    if expected_parent is not None and os.getppid() != expected_parent:
        os._exit(71)


def _tell(descriptor: int, message: Mapping[str, Any]) -> None:
    os.write(descriptor, frames.encode_message(message))


class _Warden:
    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._task = assignment.task
        self._pipes = assignment.pipes
        self._layers = assignment.layers
        self._child = 0
        self._stop_signal = signal.SIGKILL

    def run(self, server_pid: int) -> NoReturn:
        signal.signal(signal.SIGTERM, self._on_stop)
        if Layer.PID_NAMESPACE not in self._layers:
            # The processes of the child would outlive us: on the server's death we still have to sweep.
            die_with_parent(server_pid, signal.SIGTERM)
        elif Layer.USER_NAMESPACE in self._layers:
            die_with_parent(server_pid)
            namespaces.enter_user_namespace()
            self._become_first_process()
        else:
            die_with_parent(None)
        self._prepare_and_fork()
        self._await_end()

    def _on_stop(self, _number: int, _frame: object) -> None:
        if not self._child:
            os._exit(72)
        with contextlib.suppress(ProcessLookupError):  # a second wish, when the first was fulfilled
            os.kill(self._child, self._stop_signal)

    def _become_first_process(self) -> None:
        """Goes on in a fork that is process 1 of a new pid namespace; this one only waits for it."""
        syscalls.unshare(syscalls.CLONE_NEWPID)
        self._child = os.fork()
        if self._child == 0:
            die_with_parent(None)
            return
        self._stop_signal = signal.SIGTERM
        confine.close_all_but({0, 1, 2})
        os.waitpid(self._child, 0)
        os._exit(0)

    def _prepare_and_fork(self) -> None:
        host_proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY) if sys.platform == "linux" else -1
        doors = self._assignment.group.open_doors() if self._assignment.group else []
        if sys.platform == "linux":
            syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        port = self._enter_network()
        writes = (*self._task.write_paths, self._assignment.scratch)
        exposure = exposure_of(self._assignment.machine, (*self._task.read_paths, *self._task.import_paths), writes)
        if self._assignment.uid is not None:
            for path in writes:
                _give(path, self._assignment.uid)
        private_proc = self._enter_view(exposure)
        before = os.getpid()
        self._child = os.fork()
        if self._child == 0:
            plan = confine.Confinement(
                layers=self._layers,
                exposure=exposure,
                uid=self._assignment.uid,
                allow_fork=self._task.allow_fork,
                relay=port is not None,
                private_proc=private_proc,
            )
            _Child(self._assignment, plan, port).run(before, doors, host_proc)
        confine.close_all_but({0, 1, 2, self._pipes.verdict})

    def _enter_network(self) -> int | None:
        """A network of its own where planned; the port of the relay if the task asks for one."""
        wanted = self._task.platform_address is not None
        if Layer.NETWORK_NAMESPACE in self._layers:
            listener = namespaces.enter_own_network(listen=wanted)
            namespaces.enter_private_ipc()
        else:
            listener = namespaces.listen_on_loopback() if wanted else None
        if listener is None:
            return None
        port: int = listener.getsockname()[1]
        with socket.socket(fileno=os.dup(self._pipes.control)) as control:
            message = frames.encode_message({"event": "relay", "port": port})
            socket.send_fds(control, [message], [listener.fileno()])
        listener.close()
        return port

    def _enter_view(self, exposure: Exposure) -> bool:
        if Layer.MOUNT_VIEW not in self._layers:
            return False
        request = view.ViewRequest(
            mount_point=self._assignment.mount_point,
            exposure=exposure,
            uid=os.getuid() if self._assignment.uid is None else self._assignment.uid,
            own_processes=Layer.PID_NAMESPACE in self._layers,
            shared_memory_bytes=self._task.limits.memory_bytes // 4,
        )
        try:
            return view.enter_view(request)
        except OSError as error:
            raise confine.LayerFailedError(Layer.MOUNT_VIEW, str(error)) from error

    def _await_end(self) -> NoReturn:
        """Reaps whatever comes up until the child ends, then ends all that is left of it."""
        while True:
            pid, status, usage = os.wait4(-1, 0)
            if pid == self._child:
                break
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # nothing may keep us from the sweep now
        if Layer.PID_NAMESPACE not in self._layers:
            with contextlib.suppress(OSError):
                os.killpg(self._child, signal.SIGKILL)  # all that macOS lets us do
            _sweep()
        scale = 1 if sys.platform == "darwin" else 1024
        _tell(
            self._pipes.verdict,
            {"code": os.waitstatus_to_exitcode(status), "largest_bytes": usage.ru_maxrss * scale},
        )
        os._exit(0)


def _sweep() -> None:
    """Kills and reaps every process below this one, which is their subreaper: those of setsid come back to us."""
    while True:
        for pid in memory_watch.descendants(os.getpid())[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            os.wait3(0)
        except ChildProcessError:
            return


def _give(path: Path, uid: int) -> None:
    """Makes `uid` the owner of a tree; a link changes hands itself, never what it points to."""
    os.chown(path, uid, uid, follow_symlinks=False)
    if path.is_symlink() or not path.is_dir():
        return
    for _, folders, files, descriptor in os.fwalk(path):
        for name in (*folders, *files):
            os.chown(name, uid, uid, dir_fd=descriptor, follow_symlinks=False)


class _Child:
    """From the fork to the user's code."""

    def __init__(self, assignment: Assignment, plan: confine.Confinement, relay_port: int | None) -> None:
        self._assignment = assignment
        self._plan = plan
        self._relay_port = relay_port

    def run(self, warden_pid: int, doors: list[int], host_proc: int) -> NoReturn:
        pipes, task = self._assignment.pipes, self._assignment.task
        inherited.renew_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        die_with_parent(warden_pid)
        os.setsid()
        pid = int(os.readlink("self", dir_fd=host_proc)) if host_proc >= 0 else os.getpid()
        for door in doors:
            os.write(door, b"0")
        os.dup2(pipes.output, 1)
        os.dup2(pipes.output, 2)
        confine.close_all_but({0, 1, 2, pipes.channel, pipes.verdict, pipes.gate})
        limits.apply_limits(task.limits, self._already_running())
        os.umask(0o077)
        self._set_environment()
        if self._plan.uid is not None:
            confine.drop_uid(self._plan.uid)
            die_with_parent(warden_pid)
        os.chdir(os.environ["HOME"])
        if self._plan.layers - {Layer.MEMORY_CGROUP, Layer.PIDS_CGROUP}:
            confine.confine(self._plan)
        _tell(pipes.verdict, {"ready": pid})
        os.close(pipes.verdict)
        if os.read(pipes.gate, 1) != b"g":  # the forkserver died before anybody was told of us
            os._exit(73)
        os.close(pipes.gate)
        inherited.renew_libraries()
        inherited.renew_streams()
        sys.path[:0] = [str(path) for path in task.import_paths]
        run_entry(task.entry, ChildChannel(pipes.channel, task.argument), self._assignment.report)

    def _already_running(self) -> int:
        """Processes outside that RLIMIT_NPROC will count."""
        if self._plan.uid is not None:
            return 0
        if Layer.USER_NAMESPACE in self._plan.layers:
            return 2  # the two wardens; since Linux 5.14 a user namespace is counted by itself
        return limits.threads_of_uid(os.getuid()) if sys.platform == "linux" else 1024

    def _set_environment(self) -> None:
        scratch, port = str(self._assignment.scratch), str(self._relay_port)
        asked = {name: value.replace(_RELAY_PORT, port) for name, value in self._assignment.task.environment.items()}
        kept = {name: os.environ[name] for name in sorted(os.environ) if name not in ("HOME", "TMPDIR")}
        own = {"PATH": _PATH, "HOME": scratch, "TMPDIR": scratch, "USER": "carrara", "LOGNAME": "carrara"}
        os.environ.clear()
        os.environ.update({**kept, **own, **asked})
