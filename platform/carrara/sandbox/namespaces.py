"""Namespaces: a child sees only its own processes, and a network in which nobody else is."""

import fcntl
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from carrara.sandbox import syscalls

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1


def fork_first_process() -> int:
    """Like `os.fork`, but the child is process 1 of a new pid namespace: when it ends, all in there end.

    Needs CAP_SYS_ADMIN. Our own later children stay in our namespace.
    """
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    pid = -1
    try:
        syscalls.unshare(syscalls.CLONE_NEWPID)
        pid = os.fork()
        return pid
    finally:
        if pid != 0:
            syscalls.setns(own, syscalls.CLONE_NEWPID)
        os.close(own)


def enter_user_namespace() -> None:
    """Full capabilities over what is made from here on, and none over what was there. For an unprivileged user.

    One thread only. The process must be dumpable, else the kernel does not let it write its own map.
    """
    uid, gid = os.geteuid(), os.getegid()
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def enter_own_network(listen: bool) -> socket.socket | None:
    """A network namespace with nothing but loopback. With `listen`, loopback is up and a listener on it is returned."""
    syscalls.unshare(syscalls.CLONE_NEWNET)
    if not listen:
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP))
    return listen_on_loopback()


def listen_on_loopback() -> socket.socket:
    """A listener on a free port of 127.0.0.1 in the network namespace of now."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    return listener


def enter_private_ipc() -> None:
    """System V IPC, message queues and a host name that nobody else has."""
    syscalls.unshare(syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS)


def attempt(step: Callable[[], object]) -> str:
    """Tries a step in a forked child, since it cannot be undone; '' if it worked, else the kernel's reason."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        answer = b""
        try:
            step()
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is this probe's answer
            answer = f"{type(error).__name__}: {error}".encode()[:500] or b"failed"
        os.write(writing, answer)
        os._exit(0 if not answer else 1)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        text = answers.read().decode(errors="replace")
    _, status = os.waitpid(pid, 0)
    if not text and status != 0:
        return f"the probe ended with status {os.waitstatus_to_exitcode(status)}"
    return text
