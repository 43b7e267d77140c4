"""Ending what an earlier run left, if anything: on Linux the kernel has done it already, elsewhere it has not."""

import contextlib
import os
import signal
import time

import psutil

from carrara.embedded.children import Identity, boot_id, identity_of, is_alive
from carrara.embedded.state import RunFiles
from carrara.kernel.errors import Unavailable

_PATIENCE_SECONDS = 10.0
_LOOK_SECONDS = 0.02


def end_session(leader: Identity) -> int:
    """Kills the process and whoever is still in the session that it led; gives how many were killed.

    A session keeps its number from being given to another process, so no stranger is hit: unless the number belongs
    to a living process that is not the leader, and then nothing is done.
    """
    now = identity_of(leader.pid)
    if now is not None and now != leader:
        return 0
    members = [process for process in psutil.process_iter() if _session_of(process.pid) == leader.pid]
    return sum(_kill(process.pid) for process in members)


def end_leftovers(files: RunFiles) -> int:
    """Ends what the last run left and waits until its ports are free; gives how many processes that were.

    Postgres is asked to shut down, since a clean end is worth some seconds; if it does not, its own start goes further.
    """
    try:
        last = files.read()
    except Unavailable:
        return 0  # nothing to go by; our own file will replace it
    records = [row for row in last.processes if row.identity] if last else []
    alive = [row for row in records if row.identity and is_alive(row.identity)]
    for row in records:
        if row.identity is None or row.identity.boot != boot_id():
            continue
        if row.name == "postgres":
            _signal(row.identity, signal.SIGINT)
        else:
            end_session(row.identity)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while any(row.identity and is_alive(row.identity) for row in records) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    return len(alive)


def end_descendants() -> int:
    """Kills every process below us. As a subreaper we are the parent of those whose parent has died."""
    killed = 0
    for process in psutil.Process().children(recursive=True):
        killed += _kill(process.pid)
    return killed


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _kill(pid: int) -> int:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return 0
    return 1


def _signal(identity: Identity, number: signal.Signals) -> None:
    if is_alive(identity):
        with contextlib.suppress(ProcessLookupError):
            os.kill(identity.pid, number)
