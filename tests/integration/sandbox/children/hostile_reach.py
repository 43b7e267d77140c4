"""Attacks on what is outside: files, what the child was born with, and the network."""

import ctypes
import os
import socket
import stat
import struct
import threading
from pathlib import Path

from hostile_calls import Target, syscall

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
