"""Lays out targets, runs every attack of `children/hostile.py` at the level asked for, and prints what got through.

A program of its own, so that it can run as any user: `python drive_attacks.py FOLDER LEVEL` -> JSON on standard output.
"""

import ctypes
import json
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from carrara.sandbox import frames
from carrara.sandbox.client import Forkserver
from carrara.sandbox.domain import ChildTask, Level, Limits

CHILDREN = Path(__file__).resolve().parent / "children"
LIMITS = Limits(wall_seconds=20, memory_bytes=64 << 20, processes=24, file_bytes=16 << 20)
# At level none the limits are wide as well, to show that the attacks on them would do harm.
WIDE = Limits(wall_seconds=20, memory_bytes=1 << 30, processes=400, file_bytes=1 << 30)
SECRET = "planted-" + "secret-5ae1"
IN_MEMORY = b"planted-" + b"in-parent"


def serve(listener: socket.socket) -> None:
    while True:
        try:
            link, _ = listener.accept()
        except OSError:
            return
        with link:
            link.send(b"hello")


def answer(listener: socket.socket) -> None:
    while True:
        _, sender = listener.recvfrom(100)
        if sender:
            listener.sendto(b"hello", sender)


def lay_out(folder: Path) -> dict[str, Any]:
    victim = folder / "victim"
    victim.mkdir(mode=0o755)
    (victim / "private.txt").write_text("private")
    (victim / "private.txt").chmod(0o600)
    (victim / "readable.txt").write_text("readable")
    (victim / ".pgpass").write_text("*:*:*:*:secret")
    (victim / ".pgpass").chmod(0o600)
    other = folder / "models" / "other"
    other.mkdir(parents=True)
    (other / "weights").write_text("w")
    shared = Path("/dev/shm") / f"carrara-test-{os.getpid()}"
    shared.write_text("shared")
    tcp = socket.create_server(("127.0.0.1", 0))
    path = str(victim / "s")
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(path)
    Path(path).chmod(0o666)
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0carrara-test-{os.getpid()}")
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    datagram.bind(str(victim / "d"))
    Path(victim / "d").chmod(0o666)
    unix.listen()
    abstract.listen()
    for listener, function in ((tcp, serve), (unix, serve), (abstract, serve), (udp, answer), (datagram, answer)):
        threading.Thread(target=function, args=(listener,), daemon=True).start()
    open_file = os.open(victim / "private.txt", os.O_RDONLY)
    os.set_inheritable(open_file, True)
    return {
        "victim": str(victim),
        "other_model": str(other),
        "shared_memory": str(shared),
        "code": str(CHILDREN / "hostile.py"),
        "tcp_port": tcp.getsockname()[1],
        "udp_port": udp.getsockname()[1],
        "unix_path": path,
        "unix_abstract": f"carrara-test-{os.getpid()}",
        "unix_datagram": str(victim / "d"),
        "parent": os.getpid(),
        "open_file": open_file,
        "secret": SECRET,
        "in_memory": IN_MEMORY.decode(),
        "file_bytes": LIMITS.file_bytes,
        "processes": LIMITS.processes,
        "memory_bytes": LIMITS.memory_bytes,
    }


def attempt(forkserver: Forkserver, level: Level, target: dict[str, Any], staging: Path) -> dict[str, Any]:
    staging.mkdir()
    task = ChildTask(
        entry="hostile:run",
        argument={**target, "staging": str(staging)},
        read_paths=(),
        write_paths=(staging,),
        limits=WIDE if level is Level.NONE else LIMITS,
        level=level,
        import_paths=(CHILDREN,),
    )
    with forkserver.spawn(task) as child:
        frame = child.receive(25)
        end = child.wait(25)
        if frame is None:
            return {"breached": False, "detail": f"ended: {end}"}
        return frames.decode_message(frame)


def main(folder: Path, level: Level) -> None:
    os.environ["CARRARA_TEST_SECRET"] = SECRET  # not in our own block: see below
    memory = ctypes.create_string_buffer(IN_MEMORY)
    target = {**lay_out(folder), "address": ctypes.addressof(memory)}
    sys.path.append(str(CHILDREN))
    from hostile import ATTACKS

    asleep = ChildTask("endings:sleep", {}, (), (), LIMITS, level, import_paths=(CHILDREN,))
    outcomes = {}
    with Forkserver.start([], runtime_dir=folder / "run") as forkserver, forkserver.spawn(asleep) as sibling:
        for number, name in enumerate(ATTACKS):
            aimed = {**target, "attack": name, "sibling": sibling.pid}
            outcomes[name] = attempt(forkserver, level, aimed, folder / f"staging-{number}")
    Path(target["shared_memory"]).unlink()
    print(json.dumps(outcomes))


if __name__ == "__main__":
    if "CARRARA_TEST_SECRET" not in os.environ:  # the kernel shows others the environment that a program began with
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "CARRARA_TEST_SECRET": SECRET})
    main(Path(sys.argv[1]), Level(sys.argv[2]))
