"""Makes children: checks what was asked for, claims what each needs of the machine, and forks."""

import contextlib
import mmap
import os
import random
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from carrara.sandbox import namespaces, uids, warden
from carrara.sandbox.cgroups import ControlGroups, Group, group_name
from carrara.sandbox.child import MAX_REPORT_BYTES
from carrara.sandbox.children import PREPARE_SECONDS, Running
from carrara.sandbox.domain import Capabilities, ChildTask, Layer, LayerState, Level, applied_layers
from carrara.sandbox.exposure import Tree, closed_to_others, unreadable_to_others
from carrara.sandbox.request import SpawnRequest


class SpawnRefusedError(Exception):
    """The child cannot be had as it was asked for. `missing` names the layers that are not there."""

    def __init__(self, message: str, missing: tuple[LayerState, ...] = ()) -> None:
        super().__init__(message)
        self.missing = missing


@dataclass(frozen=True)
class Host:
    """What the forkserver found out at its start."""

    capabilities: Capabilities
    groups: ControlGroups
    mount_point: Path
    machine: tuple[Tree, ...]


class Nursery:
    """Makes children."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._random = random.SystemRandom()
        self._made = 0

    def make(self, request: SpawnRequest, control: socket.socket, channel: int, output: int) -> Running:
        """Forks a child for the request. SpawnRefusedError if it cannot be had so; OSError if the kernel will not."""
        task, capabilities = request.task, self._host.capabilities
        layers = applied_layers(task.level, capabilities)
        _check_level(task, capabilities)
        with contextlib.ExitStack() as undo:
            uid = self._claim_uid(layers, undo)
            if uid is not None:
                _check_reach(request, Layer.MOUNT_VIEW in layers)
            group = self._make_group(task, layers, undo)
            gate_end, gate = _pipe(undo)
            verdict, verdict_end = _pipe(undo)
            os.set_blocking(verdict, False)
            report = mmap.mmap(-1, MAX_REPORT_BYTES)  # shared with the fork; no limit on files applies to it
            pipes = warden.Pipes(channel, output, control.fileno(), verdict_end, gate_end)
            assignment = warden.Assignment(
                task=task,
                layers=layers,
                machine=self._host.machine,
                uid=uid.number if uid else None,
                scratch=request.scratch,
                mount_point=self._host.mount_point,
                group=group,
                pipes=pipes,
                report=report,
            )
            head = self._fork(assignment)
            undo.pop_all()
        for descriptor in (gate_end, verdict_end):
            os.close(descriptor)
        deadline = time.monotonic() + PREPARE_SECONDS
        return Running(head, task, layers, control, verdict, gate, report, uid, group, deadline)

    def _claim_uid(self, layers: frozenset[Layer], undo: contextlib.ExitStack) -> uids.OwnUid | None:
        if Layer.OWN_UID not in layers or (numbers := uids.uid_range()) is None:
            return None
        uid = uids.claim_uid(numbers, self._random)
        undo.callback(uid.release)
        return uid

    def _make_group(self, task: ChildTask, layers: frozenset[Layer], undo: contextlib.ExitStack) -> Group | None:
        if not layers & {Layer.MEMORY_CGROUP, Layer.PIDS_CGROUP}:
            return None
        self._made += 1
        name = group_name(os.getpid(), self._made)
        limits = task.limits
        group = self._host.groups.make(name, memory_bytes=limits.memory_bytes, processes=limits.processes)
        undo.callback(group.remove)
        return group

    def _fork(self, assignment: warden.Assignment) -> int:
        server_pid = os.getpid()
        by_root = Layer.PID_NAMESPACE in assignment.layers and Layer.USER_NAMESPACE not in assignment.layers
        head = namespaces.fork_first_process() if by_root else os.fork()
        if head == 0:
            warden.run(assignment, server_pid)
        return head


def _check_level(task: ChildTask, capabilities: Capabilities) -> None:
    missing = capabilities.missing(task.level)
    if missing:
        reasons = "; ".join(f"{state.layer}: {state.detail}" for state in missing)
        raise SpawnRefusedError(f"level {task.level} cannot be had here ({reasons})", missing)
    if task.platform_address is not None and task.level is not Level.NONE and not capabilities.confined_relay:
        states = tuple(state for state in capabilities.layers if state.layer is Layer.NETWORK_NAMESPACE)
        raise SpawnRefusedError(f"a relay to the platform needs a network namespace ({states[0].detail})", states)


def _check_reach(request: SpawnRequest, has_view: bool) -> None:
    """Says beforehand which path a child with its own uid could not use."""
    task = request.task
    for path in (*task.read_paths, *task.import_paths):
        if path.exists() and unreadable_to_others(path):
            raise SpawnRefusedError(
                f"{path} is not readable by others, and the child has a uid of its own: chmod o+rX it"
            )
    if has_view:
        return
    for path in (*task.read_paths, *task.import_paths, *task.write_paths, request.scratch):
        if path.exists() and (closed := closed_to_others(path)) is not None:
            raise SpawnRefusedError(f"a child with its own uid cannot reach {path}: {closed} is closed to it")


def _pipe(undo: contextlib.ExitStack) -> tuple[int, int]:
    reading, writing = os.pipe()
    undo.callback(os.close, reading)
    undo.callback(os.close, writing)
    return reading, writing
