"""Calls of Linux that Python 3.11 does not offer, through ctypes. Every one raises OSError when the kernel says no."""

import ctypes
import os
from typing import Any

from carrara.sandbox.syscall_numbers import numbers

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x4_0000
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MNT_DETACH = 2
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
_AT_RECURSIVE = 0x8000

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x2008_0522

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: Any, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return int(result)


def call(name: str, *arguments: int | ctypes.Array[Any] | None) -> int:
    """One raw system call; integers are passed as longs, arrays by address."""
    converted = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _checked(_libc.syscall(ctypes.c_long(numbers()[name]), *converted), name)


def prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    _checked(_libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero), f"prctl({option})")


def unshare(flags: int) -> None:
    _checked(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(descriptor: int, kind: int) -> None:
    _checked(_libc.setns(descriptor, kind), "setns")


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    _checked(
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            kind.encode() if kind else None,
            ctypes.c_ulong(flags),
            options.encode() if options else None,
        ),
        f"mount {source} at {target}",
    )


def set_mount_attributes(target: str, attributes: int, *, recursive: bool = True) -> None:
    """Sets MOUNT_ATTR_* flags on a mount, and on all mounts below it (Linux 5.12)."""
    # struct mount_attr { u64 attr_set, attr_clr, propagation, userns_fd; }
    wanted = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    path = ctypes.create_string_buffer(os.fsencode(target))
    call("mount_setattr", -100, path, _AT_RECURSIVE if recursive else 0, wanted, ctypes.sizeof(wanted))


def change_root(new_root: str) -> None:
    """Makes a mount the root of this mount namespace and lets go of the old one."""
    os.chdir(new_root)
    dot = ctypes.create_string_buffer(b".")
    call("pivot_root", dot, dot)
    _checked(_libc.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")


def drop_all_capabilities() -> None:
    """Empties the effective, permitted and inheritable sets of this thread."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    call("capset", header, data)
