"""Runs a program as somebody else: an ordinary user, one who may make no namespaces, or root as a container has it.

Used as a program by `run_as`; needs root. Where the interpreter lies below a folder that is closed to others, a mount
namespace of its own shows it as if that folder were open.
"""

import contextlib
import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from carrara.sandbox import syscalls
from carrara.sandbox.exposure import closed_to_others

_USER = 23_457
_REPOSITORY = Path(__file__).resolve().parents[2]
_PR_CAPBSET_DROP = 24
_CAP_SYS_ADMIN = 21
_CAPABILITIES_OF_A_CONTAINER = {0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31}


class Identity(StrEnum):
    """`CONTAINER_ROOT` has the capabilities that Docker leaves; `BARE_USER` may not make user namespaces."""

    ROOT = "root"
    CONTAINER_ROOT = "container-root"
    USER = "user"
    BARE_USER = "bare-user"


@contextlib.contextmanager
def folder_for_anybody() -> Iterator[Path]:
    """A new folder that other users can reach. Those of pytest are not: every run of it closes them anew."""
    with tempfile.TemporaryDirectory(prefix="carrara-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def run_as(
    identity: Identity, arguments: Sequence[str], *, folder: Path, timeout_seconds: float
) -> subprocess.CompletedProcess[str]:
    """Runs the interpreter with these arguments; `folder`, of `folder_for_anybody`, is given to whoever it will be."""
    command = [sys.executable, *arguments]
    if identity is not Identity.ROOT:
        owner = 0 if identity is Identity.CONTAINER_ROOT else _USER
        os.chown(folder, owner, owner)
        command = [sys.executable, __file__, identity, *command]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(_REPOSITORY)}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=timeout_seconds, check=False
    )


def _become(identity: Identity) -> None:
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    _open_way({Path(sys.prefix), Path(sys.base_prefix), _REPOSITORY})
    if identity is Identity.CONTAINER_ROOT:
        for number in range(64):
            if number not in _CAPABILITIES_OF_A_CONTAINER and Path("/proc/self/status").exists():
                ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
        return
    os.setgroups([])
    if identity is Identity.BARE_USER:
        _forbid_user_namespaces()
    os.setresgid(_USER, _USER, _USER)
    os.setresuid(_USER, _USER, _USER)


def _forbid_user_namespaces() -> None:
    """The limit is one of the user namespace that we are in, so we go into one that maps everybody to themselves."""
    waiting, go = os.pipe()
    parent = os.getpid()
    helper = os.fork()
    if helper == 0:
        os.read(waiting, 1)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{parent}/{name}").write_text("0 0 4294967295")
        os._exit(0)
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    os.write(go, b"g")
    if os.waitpid(helper, 0)[1] != 0:
        raise OSError("the user namespace could not be mapped")
    Path("/proc/sys/user/max_user_namespaces").write_text("0")


def _open_way(needed: set[Path]) -> None:
    while closed := next((folder for path in sorted(needed) if (folder := closed_to_others(path))), None):
        inside = sorted(path.resolve() for path in needed if path.resolve().is_relative_to(closed))
        held = [(path, os.open(path, os.O_PATH)) for path in inside]
        syscalls.mount("tmpfs", str(closed), "tmpfs", 0, "mode=755")
        for path, descriptor in held:
            path.mkdir(parents=True, exist_ok=True)
            syscalls.mount(f"/proc/self/fd/{descriptor}", str(path), None, syscalls.MS_BIND | syscalls.MS_REC)
            os.close(descriptor)


if __name__ == "__main__":
    _become(Identity(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
