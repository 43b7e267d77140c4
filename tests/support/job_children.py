"""What the play job's children do. They run confined, so they import the standard library only."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def answer(channel: Any) -> None:
    """Reads its input, reports progress, writes its output and gives its result."""
    question = Path(channel.argument["inputs"], "question.txt").read_text()
    print("thinking about:", question)
    channel.emit({"event": "progress", "fraction": 0.5, "message": "halfway"})
    channel.emit({"event": "metric", "name": "loss", "value": 0.25, "step": 1})
    _write(channel, 42)


def log(channel: Any) -> None:
    """Prints much, with bytes that are no text."""
    for number in range(channel.argument.get("lines", 10)):
        print("line", number, "x" * 80)
    sys.stdout.flush()
    os.write(1, b"odd: \xff\x00 end\n")
    print("on stderr", file=sys.stderr)
    _write(channel, 1)


def metrics(channel: Any) -> None:
    """Sends events good and bad."""
    for step in range(1000):
        channel.emit({"event": "metric", "name": "loss", "value": 1.0 / (step + 1), "step": step})
    channel.emit({"event": "metric", "name": "odd", "value": float("nan"), "step": 0})
    channel.emit({"event": "metric", "name": 7, "value": "high"})
    channel.emit({"event": "dance"})
    channel.send(b"\xc1 no message")
    channel.emit({"event": "progress", "fraction": 7, "message": "nul \x00 inside"})
    _write(channel, 2)


def raise_(channel: Any) -> None:
    raise RuntimeError(f"no such luck \x00 in attempt {channel.argument['attempt']}")


def exit_(channel: Any) -> None:
    sys.exit(3)


def nothing(channel: Any) -> None:
    """Ends well, and gives no result."""


def told(channel: Any) -> None:
    channel.emit(
        {"event": "user_error", "reason": "constant_target", "message": "the target never changes", "facts": {"n": 1}}
    )


def crash(channel: Any) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(channel: Any) -> None:
    """Starts a child of its own and waits for ever."""
    if os.fork() == 0:
        os.setsid()
        _hold(channel)
    _hold(channel)


def allocate(channel: Any) -> None:
    """Takes memory until somebody says no."""
    print("allocating")
    held = []
    while True:
        held.append(bytearray(os.urandom(1 << 20) * 16))


def wait_for_file(channel: Any) -> None:
    """Does half of its work, then waits for the test's sign, which is a file beside its code."""
    channel.emit({"event": "progress", "fraction": 0.5, "message": f"attempt {channel.argument['attempt']} at half"})
    print("attempt", channel.argument["attempt"], "at half")
    sign = Path(channel.argument["sign"])
    while not sign.exists():
        time.sleep(0.05)
    _write(channel, channel.argument["attempt"])


def first_waits(channel: Any) -> None:
    """The first attempt waits for the sign; later ones answer at once."""
    if channel.argument["attempt"] == 1:
        wait_for_file(channel)
    else:
        answer(channel)


def full(channel: Any) -> None:
    raise OSError(28, "No space left on device", "model.bin")


def fill_disk(channel: Any) -> None:
    """Writes many files, each of them small, and waits."""
    for number in range(64):
        Path(channel.argument["outputs"], f"{number}.bin").write_bytes(os.urandom(1 << 20))
    _hold(channel)


def when(channel: Any) -> None:
    """Tells when the user's code began: seconds since the epoch."""
    _write(channel, time.time())


def _hold(channel: Any) -> None:
    channel.emit({"event": "progress", "fraction": None, "message": "hanging"})
    while True:
        time.sleep(60)


def _write(channel: Any, value: Any) -> None:
    Path(channel.argument["outputs"], "answer.json").write_text(json.dumps({"answer": value}))
    channel.emit({"event": "result", "value": {"note": "done"}})
