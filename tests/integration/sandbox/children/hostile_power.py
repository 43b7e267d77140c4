"""Attacks on other processes, on the kernel, and on the machine's size."""

import ctypes
import mmap
import os
import resource
import signal
import struct
import subprocess
import time
from pathlib import Path

from hostile_calls import Target, libc, syscall

# --- other processes


def signal_parent(target: Target) -> str | None:
    os.kill(target["parent"], 0)
    return "the parent can be signalled"


def signal_sibling(target: Target) -> str | None:
    os.kill(target["sibling"], 0)
    return "the sibling can be signalled"


def kill_the_warden(target: Target) -> str | None:
    """At level none the warden is an ordinary process of the same user."""
    os.kill(os.getppid(), 0)
    os.kill(os.getppid(), signal.SIGSTOP)
    os.kill(os.getppid(), signal.SIGCONT)
    return "the warden can be stopped"


def trace_parent(target: Target) -> str | None:
    seize = 0x4206
    syscall("ptrace", ctypes.c_long(seize), ctypes.c_long(target["parent"]), None, None)
    return "seized"


def read_parent_memory(target: Target) -> str | None:
    length = len(target["in_memory"])
    buffer = ctypes.create_string_buffer(length)
    local = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), length)
    remote = (ctypes.c_uint64 * 2)(target["address"], length)
    syscall("process_vm_readv", ctypes.c_long(target["parent"]), local, ctypes.c_long(1), remote, ctypes.c_long(1), 0)
    return buffer.raw.decode()


def steal_a_descriptor(target: Target) -> str | None:
    descriptor = os.pidfd_open(target["parent"])
    return f"descriptor {syscall('pidfd_getfd', descriptor, target['open_file'], 0)}"


def limit_the_parent(target: Target) -> str | None:
    before = resource.prlimit(target["parent"], resource.RLIMIT_CORE)
    resource.prlimit(target["parent"], resource.RLIMIT_CORE, before)
    return "the parent's limits can be set"


def slow_the_parent(target: Target) -> str | None:
    os.setpriority(os.PRIO_PROCESS, target["parent"], os.getpriority(os.PRIO_PROCESS, target["parent"]))
    return "the parent's priority can be set"


def outlive_the_parent(target: Target) -> str | None:
    if libc.prctl(1, 0, 0, 0, 0) != 0:
        raise PermissionError
    return "the parent-death signal is off"


# --- the kernel


def run_a_program(target: Target) -> str | None:
    return subprocess.run(["/bin/echo", "ran"], capture_output=True, text=True, check=True).stdout


def become_root(target: Target) -> str | None:
    os.setuid(0)
    return f"uid {os.getuid()}"


def mount_something(target: Target) -> str | None:
    syscall("mount", b"tmpfs", target["staging"].encode(), b"tmpfs", ctypes.c_ulong(0), None)
    syscall("umount2", target["staging"].encode(), 0)
    return "mounted"


def make_a_user_namespace(target: Target) -> str | None:
    syscall("unshare", ctypes.c_long(0x1000_0000))
    return "all capabilities in a new namespace"


def clone_into_a_namespace(target: Target) -> str | None:
    pid = syscall("clone", ctypes.c_ulong(0x1000_0000 | signal.SIGCHLD), None, None, None, None)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "cloned"


def use_io_uring(target: Target) -> str | None:
    return f"ring {syscall('io_uring_setup', 4, ctypes.create_string_buffer(256))}"


def use_bpf(target: Target) -> str | None:
    array = struct.pack("IIII", 2, 4, 4, 1) + b"\0" * 112  # BPF_MAP_TYPE_ARRAY, key, value, entries
    return f"map {syscall('bpf', 0, ctypes.create_string_buffer(array, len(array)), len(array))}"


def use_keyring(target: Target) -> str | None:
    return f"key {syscall('add_key', b'user', b'planted', b'x', ctypes.c_size_t(1), ctypes.c_int(-3))}"


def use_perf(target: Target) -> str | None:
    attributes = struct.pack("IIQ", 1, 128, 0) + b"\0" * 16 + struct.pack("QQ", 0, 0x61) + b"\0" * 80
    return f"event {syscall('perf_event_open', ctypes.create_string_buffer(attributes, 128), 0, -1, -1, 0)}"


def use_userfaultfd(target: Target) -> str | None:
    return f"descriptor {syscall('userfaultfd', 1)}"


def change_personality(target: Target) -> str | None:
    return f"was {syscall('personality', ctypes.c_ulong(0x0040000))}"


def open_core_pattern(target: Target) -> str | None:
    with Path("/proc/sys/kernel/core_pattern").open("a"):
        return "the kernel would run a program of ours as root"


def leave_the_control_group(target: Target) -> str | None:
    doors = [*Path("/sys/fs/cgroup").glob("*/cgroup.procs"), *Path("/sys/fs/cgroup").glob("cgroup.procs")]
    for door in doors:
        with door.open("a"):
            return f"{door} is open"
    return None


# --- too much


def fork_without_end(target: Target) -> str | None:
    children = 0
    for _ in range(target["processes"] * 2):
        try:
            pid = os.fork()
        except OSError:
            break
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        children += 1
    return f"{children} processes" if children > target["processes"] else None


def fill_shared_memory(target: Target) -> str | None:
    path = Path(f"/dev/shm/carrara-flood-{target['parent']}")
    written = 0
    try:
        with path.open("wb", buffering=0) as file:
            while written < target["memory_bytes"]:
                written += file.write(b"\0" * (1 << 20))
    finally:
        path.unlink()
    return f"{written} bytes"


def map_shared_memory(target: Target) -> str | None:
    """Anonymous shared memory: no file, no heap."""
    with mmap.mmap(-1, target["memory_bytes"] * 2) as area:
        for place in range(0, len(area), mmap.PAGESIZE):
            area[place] = 1
        time.sleep(2)
        return f"{len(area)} bytes"
