"""The last steps, in the process that will run the user's code: give up everything, then make sure that it is gone."""

import contextlib
import errno
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from carrara.sandbox import landlock, seccomp, syscalls
from carrara.sandbox.domain import Layer
from carrara.sandbox.exposure import DEVICES, Exposure, own_proc


class LayerFailedError(OSError):
    """A layer that was planned does not hold; the child must not run."""

    def __init__(self, layer: Layer, reason: str) -> None:
        super().__init__(f"{layer}: {reason}")
        self.layer = layer


@dataclass(frozen=True)
class Confinement:
    """What is to hold this process. `uid` is its own, or None to keep the one it has.

    `private_proc`: /proc shows only the child's own processes.
    """

    layers: frozenset[Layer]
    exposure: Exposure
    uid: int | None
    allow_fork: bool
    relay: bool
    private_proc: bool

    @property
    def profile(self) -> seccomp.Profile:
        guarded = Layer.MOUNT_VIEW in self.layers or self.uid is not None
        return seccomp.Profile(allow_fork=self.allow_fork, tcp=self.relay, ignore_file_modes=not guarded)


def drop_uid(uid: int) -> None:
    """Becomes `uid` with the group of the same number and no other. The parent-death signal is lost by this.

    Changing the uid also closes /proc/self to the process; libraries read their own maps, and nobody else has the uid.
    """
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)


def confine(plan: Confinement) -> None:
    """Applies the layers that bind the process itself. LayerFailedError, naming the layer, if one does not hold."""
    syscalls.drop_all_capabilities()
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    if Layer.LANDLOCK in plan.layers:
        _apply(Layer.LANDLOCK, lambda: landlock.restrict(_rules(plan), tcp=plan.relay))
    if Layer.SECCOMP in plan.layers:
        _apply(Layer.SECCOMP, lambda: seccomp.install(plan.profile, platform.machine()))
    verify(plan)


def _apply(layer: Layer, step: Callable[[], None]) -> None:
    try:
        step()
    except OSError as error:
        raise LayerFailedError(layer, str(error)) from error


def verify(plan: Confinement) -> None:
    """Tries what must no longer work; LayerFailedError for the first thing that does."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    if int(status["CapPrm"], 16) or int(status["CapEff"], 16) or status["NoNewPrivs"].strip() != "1":
        raise LayerFailedError(Layer.SECCOMP, "capabilities or the right to gain them are left")
    if plan.uid is not None:
        _verify_uid(plan.uid)
    if Layer.PID_NAMESPACE in plan.layers and os.getppid() != 1:
        raise LayerFailedError(Layer.PID_NAMESPACE, f"the parent is process {os.getppid()}, not 1")
    if Layer.LANDLOCK in plan.layers:
        verify_landlock()
    if Layer.SECCOMP in plan.layers:
        verify_seccomp()


def verify_landlock() -> None:
    """The root folder is granted to nobody."""
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY))
    except PermissionError:
        return
    raise LayerFailedError(Layer.LANDLOCK, "the root folder can still be listed")


def verify_seccomp() -> None:
    """Calls that succeed, or fail otherwise, for any user without the filter."""
    for name, arguments, expected in (
        ("unshare", (0,), errno.EPERM),
        ("personality", (0xFFFF_FFFF,), errno.EPERM),
        ("execve", (None, None, None), errno.EPERM),
        ("clone3", (None, 0), errno.ENOSYS),
        ("socket", (1, 1, 0), errno.EPERM),
    ):
        try:
            syscalls.call(name, *arguments)
        except OSError as error:
            if error.errno == expected:
                continue
        raise LayerFailedError(Layer.SECCOMP, f"{name} is still answered")


def _verify_uid(uid: int) -> None:
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (uid, uid, uid) or os.getgroups():
        raise LayerFailedError(
            Layer.OWN_UID, f"ids are {os.getresuid()}, {os.getresgid()}, {os.getgroups()}, not {uid}"
        )
    try:
        os.setuid(0)
    except PermissionError:
        return
    raise LayerFailedError(Layer.OWN_UID, "the way back to root is open")


def _rules(plan: Confinement) -> list[tuple[Path, int]]:
    rules = [(path, landlock.READ) for path in {tree.real for tree in plan.exposure.reads}]
    rules += [(tree.real, landlock.WRITE) for tree in plan.exposure.writes]
    rules += [(path, landlock.DEVICE) for path in DEVICES]
    rules += [(path, landlock.READ) for path in ((Path("/proc"),) if plan.private_proc else own_proc())]
    if Layer.MOUNT_VIEW in plan.layers:
        rules += [(Path("/etc/passwd"), landlock.READ), (Path("/etc/group"), landlock.READ)]
        # Semaphores of multiprocessing are files there. The machine's own folder is everybody's.
        rules.append((Path("/dev/shm"), landlock.WRITE))  # noqa: S108
    return rules


def close_all_but(keep: set[int]) -> None:
    """Closes every file descriptor but these."""
    folder = Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")
    for path in list(folder.iterdir()):
        if int(path.name) not in keep:
            with contextlib.suppress(OSError):  # the one that listed the folder is closed already
                os.close(int(path.name))
