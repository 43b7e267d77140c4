"""What a hostile model or training code would try. Each attack gives a text when it got through, and nothing when not.

An exception means that it was held. `target` is what `drive_attacks.py` has laid out.
"""

import ctypes
import mmap
import os
import resource
import signal
import socket
import stat
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from carrara.sandbox.syscall_numbers import numbers

Target = dict[str, Any]
Attack = Callable[[Target], str | None]

libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = numbers()


def syscall(name: str, *arguments: Any) -> int:
    result = libc.syscall(NUMBERS[name], *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


# --- files


def read_shadow(target: Target) -> str | None:
    return Path("/etc/shadow").read_text()[:10]


def read_private_file(target: Target) -> str | None:
    return Path(target["victim"], "private.txt").read_text()


def read_world_readable_file(target: Target) -> str | None:
    return Path(target["victim"], "readable.txt").read_text()


def read_pgpass(target: Target) -> str | None:
    return Path(target["victim"], ".pgpass").read_text()


def read_other_models_folder(target: Target) -> str | None:
    return str(list(Path(target["other_model"]).iterdir()))


def read_shared_memory_of_others(target: Target) -> str | None:
    return Path(target["shared_memory"]).read_text()


def read_from_a_second_thread(target: Target) -> str | None:
    found: list[str] = []

    def read() -> None:
        found.append(Path(target["victim"], "readable.txt").read_text())

    threading.excepthook = lambda _: None
    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    return found[0] if found else None


def list_the_root(target: Target) -> str | None:
    return str(list(Path("/").iterdir()))


def write_outside(target: Target) -> str | None:
    Path(target["victim"], "planted.txt").write_text("planted")
    return "planted"


def append_to_our_code(target: Target) -> str | None:
    with Path(target["code"]).open("a"):
        return "opened for writing"


def change_mode_outside(target: Target) -> str | None:
    path = Path(target["victim"], "readable.txt")
    path.chmod(0o777)
    after = stat.S_IMODE(path.stat().st_mode)
    return "mode 777" if after == 0o777 else None


def change_time_outside(target: Target) -> str | None:
    path = Path(target["victim"], "readable.txt")
    os.utime(path, (1, 1))
    return "time 1" if path.stat().st_mtime == 1 else None


def read_through_a_link(target: Target) -> str | None:
    link = Path(target["staging"], "link")
    link.symlink_to(Path(target["victim"], "readable.txt"))
    return link.read_text()


def leave_a_link_behind(target: Target) -> str | None:
    link = Path(target["staging"], "trap")
    link.symlink_to("/etc/shadow")
    return str(link.readlink())


def leave_a_pipe_behind(target: Target) -> str | None:
    os.mkfifo(Path(target["staging"], "pipe"))
    return "a pipe"


def make_a_hard_link(target: Target) -> str | None:
    inside = Path(target["staging"], "hard")
    inside.hardlink_to(Path(target["victim"], "readable.txt"))
    return inside.read_text()


def make_a_disk_node(target: Target) -> str | None:
    node = Path(target["staging"], "disk")
    os.mknod(node, stat.S_IFBLK | 0o600, os.makedev(254, 0))
    return "a block device"


def open_by_handle(target: Target) -> str | None:
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
    mount = ctypes.create_string_buffer(8)
    syscall("name_to_handle_at", -100, target["victim"].encode(), handle, mount, 0)
    return "a handle"


def write_a_huge_file(target: Target) -> str | None:
    with Path(target["staging"], "huge").open("wb") as file:
        file.truncate(target["file_bytes"] * 2)
    return "twice what is allowed"


# --- what we were born with


def find_secret_in_environment(target: Target) -> str | None:
    seen = str(dict(os.environ)) + Path("/proc/self/environ").read_text(errors="replace")
    return "the secret" if target["secret"] in seen else None


def read_parent_environment(target: Target) -> str | None:
    text = Path(f"/proc/{target['parent']}/environ").read_text(errors="replace")
    return "the secret" if target["secret"] in text else None


def read_first_process_environment(target: Target) -> str | None:
    return Path("/proc/1/environ").read_text(errors="replace")[:20] or None


def use_inherited_descriptors(target: Target) -> str | None:
    found = []
    for descriptor in range(3, 1024):
        try:
            what = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        except OSError:
            continue
        found.append(what)
    outside = [what for what in found if not what.startswith("socket:")]
    sockets = len(found) - len(outside)
    return f"{outside} and {sockets} sockets" if outside or sockets > 1 else None


# --- network


def connect_tcp(target: Target) -> str | None:
    with socket.create_connection(("127.0.0.1", target["tcp_port"]), timeout=2) as link:
        return link.recv(5).decode()


def ask_udp(target: Target) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(2)
        link.sendto(b"hello", ("127.0.0.1", target["udp_port"]))
        return link.recv(5).decode()


def connect_unix_path(target: Target) -> str | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.connect(target["unix_path"])
        return link.recv(5).decode()


def connect_unix_abstract(target: Target) -> str | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.connect("\0" + target["unix_abstract"])
        return link.recv(5).decode()


def redirect_a_socket_pair(target: Target) -> str | None:
    one, _other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.connect(target["unix_datagram"])
    one.send(b"hello")
    return "sent"


def open_a_raw_socket(target: Target) -> str | None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW):
        return "a packet socket"


def open_netlink(target: Target) -> str | None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW):
        return "a netlink socket"


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


ATTACKS: dict[str, Attack] = {
    name: function
    for name, function in list(globals().items())
    if callable(function)
    and getattr(function, "__module__", "") == __name__
    and getattr(function, "__annotations__", {}).get("target") == Target
}


def run(channel: Any) -> None:
    """The entry: runs the attack that the argument names and tells how it went."""
    target = channel.argument
    try:
        detail = ATTACKS[target["attack"]](target)
    except Exception as error:  # noqa: BLE001  # however it was held
        channel.emit({"breached": False, "detail": f"{type(error).__name__}: {error}"})
    else:
        channel.emit({"breached": detail is not None, "detail": detail or ""})
