"""Starting a child that ends when we end, and knowing it again later: its number alone may be another's by then."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from carrara.embedded.accounts import Account, popen_options

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_START_TICKS_FIELD = 19  # proc(5), /proc/pid/stat: the 22nd field, counted from behind the command's name
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Identity:
    """One process and no other: its number, when it started, and in which boot of the machine."""

    pid: int
    started: float
    boot: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def identity_of(pid: int) -> Identity | None:
    """Who `pid` is now, or None if there is no such process (a zombie is none: it runs no more)."""
    try:
        if sys.platform == "linux":
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if fields[0] in "ZX":
                return None
            return Identity(pid, float(fields[_START_TICKS_FIELD]), boot_id())
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return Identity(pid, process.create_time(), boot_id())
    except (OSError, psutil.NoSuchProcess):
        return None


def is_alive(identity: Identity) -> bool:
    """Whether that very process still runs."""
    return identity_of(identity.pid) == identity


def boot_id() -> str:
    """Changes with every boot of the machine: a process id of another boot means nothing."""
    if sys.platform == "linux":
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return str(int(psutil.boot_time()))


def spawn(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    output: IO[bytes] | int,
    account: Account | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
    directory: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a child in a session of its own that gets `death_signal` when the calling thread ends.

    Call it from the main thread of a process with one thread: the death signal follows the thread that forked.
    On macOS, which has no such signal, the next start ends what was left.
    """
    return subprocess.Popen(
        list(argv),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=directory,
        start_new_session=True,  # Ctrl-C at the terminal reaches the supervisor only, which stops all in order
        preexec_fn=die_with_us(death_signal),  # runs after setuid, which would have cleared it
        **popen_options(account),
    )


def die_with_us(death_signal: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn`: the child gets `death_signal` when the thread that forks it ends."""
    number, parent = int(death_signal), os.getpid()

    def tie() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
            if os.getppid() != parent:  # it died between fork and prctl
                os._exit(1)

    return tie


def become_subreaper() -> None:
    """From now on a grandchild whose parent dies becomes our child, so that we can end it. Linux only."""
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
