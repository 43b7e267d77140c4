"""Ways for a child to end, and to misuse its channel."""

import ctypes
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any


def return_at_once(channel: Any) -> None:
    print("out", flush=True)
    print("err", file=sys.stderr)


def raise_error(channel: Any) -> None:
    raise ValueError("column 'größe' is not there")


def raise_error_with_bad_text(channel: Any) -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text for you")

    raise BrokenError


def raise_long_error(channel: Any) -> None:
    raise ValueError("x" * 10_000_000)


def exit_with_five(channel: Any) -> None:
    sys.exit(5)


def exit_with_message(channel: Any) -> None:
    sys.exit("no data today")


def leave_quietly(channel: Any) -> None:
    os._exit(7)


def crash(channel: Any) -> None:
    ctypes.string_at(0)


def abort(channel: Any) -> None:
    os.abort()


def kill_itself(channel: Any) -> None:
    os.kill(os.getpid(), 9)


def ask_for_too_much(channel: Any) -> None:
    bytearray(1 << 50)


def allocate_without_end(channel: Any) -> None:
    held = []
    while True:
        held.append(bytearray(os.urandom(4096) * 256))


def allocate_in_a_grandchild(channel: Any) -> None:
    if os.fork() == 0:
        os.setsid()
        allocate_without_end(channel)
    time.sleep(600)


def loop(channel: Any) -> None:
    while True:
        pass


def burn_processor_time(channel: Any) -> None:
    loop(channel)


def sleep(channel: Any) -> None:
    channel.emit({"asleep": True})
    time.sleep(600)


def sleep_with_threads(channel: Any) -> None:
    for _ in range(3):
        threading.Thread(target=time.sleep, args=(600,)).start()


def echo(channel: Any) -> None:
    while (frame := channel.receive()) is not None:
        channel.send(frame)


def send_gigabyte(channel: Any) -> None:
    descriptor = channel._socket.fileno()
    os.write(descriptor, (1 << 30).to_bytes(4, "big"))
    block = b"\0" * (1 << 20)
    for _ in range(1 << 10):
        os.write(descriptor, block)


def send_half_a_frame(channel: Any) -> None:
    os.write(channel._socket.fileno(), (100).to_bytes(4, "big") + b"only this")


def send_no_map(channel: Any) -> None:
    channel.send(b"\xc1 is never used in msgpack")


def leave_a_grandchild(channel: Any) -> None:
    """The grandchild leaves the session and the process group, and holds our output open as long as it lives."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    os.wait()


def multiply(channel: Any) -> None:
    """Eight processes, all but the first in sessions of their own; then sleeps."""
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
    channel.emit({"pid": os.getpid()})
    time.sleep(600)


def look_around(channel: Any) -> None:
    channel.emit(
        {
            "uid": os.getuid(),
            "environment": dict(os.environ),
            "path": sys.path[0],
            "cwd": str(Path.cwd()),
            "threads": sum(1 for _ in Path("/proc/self/task").iterdir()),
            "argument": channel.argument,
        }
    )


def fill_scratch(channel: Any) -> None:
    home = Path(os.environ["HOME"])
    locked = home / "locked"
    locked.mkdir()
    (locked / "file").write_text("x")
    locked.chmod(0)
    Path(os.environ["TMPDIR"], "temporary").write_text("y")


def write_staging(channel: Any) -> None:
    staging = Path(channel.argument["staging"])
    (staging / "model").mkdir()
    (staging / "model" / "weights.bin").write_bytes(b"\1\2\3")
    (staging / "given.txt").write_text((staging / "given.txt").read_text() + " and more")


def fork_once(channel: Any) -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    os.fork()
