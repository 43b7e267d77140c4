"""Landlock: which files a child may open, from the kernel's side (`landlock(7)`, `include/uapi/linux/landlock.h`)."""

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from carrara.sandbox import syscalls

_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG = 1 << 7, 1 << 8
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
_FIRST_ABI_RIGHTS = (1 << 13) - 1
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_SCOPE_ABSTRACT_UNIX, _SCOPE_SIGNAL = 1 << 0, 1 << 1

READ = _READ_FILE | _READ_DIR
# No links, pipes, sockets or devices: whoever reads what the child left behind must meet files and folders only.
WRITE = READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
DEVICE = _READ_FILE | _WRITE_FILE
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE


def abi() -> int:
    """The version of Landlock that the kernel offers; OSError where there is none."""
    return syscalls.call("landlock_create_ruleset", None, 0, _VERSION_FLAG)


def handled_rights(version: int) -> tuple[int, int, int]:
    """Everything that this version can hold back: rights on files, on the network, and scopes."""
    files = _FIRST_ABI_RIGHTS
    files |= _REFER if version >= 2 else 0
    files |= _TRUNCATE if version >= 3 else 0
    files |= _IOCTL_DEVICE if version >= 5 else 0
    network = _BIND_TCP | _CONNECT_TCP if version >= 4 else 0
    scopes = _SCOPE_ABSTRACT_UNIX | _SCOPE_SIGNAL if version >= 6 else 0
    return files, network, scopes


def restrict(rules: Iterable[tuple[Path, int]], *, tcp: bool) -> None:
    """Takes from this thread, for good, every right that no rule grants. A rule holds for all beneath its path.

    Paths that are not there are passed over. With `tcp` the network is left to the other layers. NO_NEW_PRIVS must be
    set, and there must be one thread only: others would stay free.
    """
    if (threads := sum(1 for _ in Path("/proc/self/task").iterdir())) != 1:
        raise OSError(errno.EBUSY, f"Landlock binds one thread and there are {threads}")
    version = abi()
    files, network, scopes = handled_rights(version)
    attributes = struct.pack("=QQQ", files, 0 if tcp else network, scopes)
    length = 8 if version < 4 else 16 if version < 6 else 24
    holder = ctypes.create_string_buffer(attributes, len(attributes))
    ruleset = syscalls.call("landlock_create_ruleset", holder, length, 0)
    try:
        for path, rights in rules:
            _grant(ruleset, path, rights & files)
        syscalls.call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _grant(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _FILE_RIGHTS
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, descriptor), 12)
        syscalls.call("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)
