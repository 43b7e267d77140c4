"""A child may be over before its parent has looked for the first time."""

import os
import socket
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from carrara.sandbox import frames
from carrara.sandbox.client import _await_start
from carrara.sandbox.domain import ChildExit, ChildTask, ExitKind, Level, Limits
from carrara.sandbox.handle import Child, Ends

TASK = ChildTask("module:function", {}, (), (), Limits(1.0, 1 << 20, 1, 1 << 20), Level.NONE)


def test_an_exit_that_came_with_the_start_is_not_lost(tmp_path: Path) -> None:
    control, forkserver = socket.socketpair()
    channel, far_channel = socket.socketpair()
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    exited = {"event": "exit", **asdict(ChildExit(ExitKind.FINISHED, code=0))}
    half = frames.encode_message(exited)
    with forkserver, far_channel, ExitStack() as ours:
        forkserver.sendall(frames.encode_message({"event": "started", "pid": 7, "layers": []}) + half[:5])
        started, relay, news = _await_start(control, TASK, ours)
        forkserver.sendall(half[5:])
        forkserver.close()
        child = Child(
            7, Ends(control, channel, reading, tmp_path, relay), layers=frozenset(), max_frame_bytes=9, news=news
        )
        os.close(writing)
        with child:
            assert started["pid"] == 7
            assert child.wait(1) == ChildExit(ExitKind.FINISHED, code=0)


def test_an_exit_that_came_whole_with_the_start_is_not_lost(tmp_path: Path) -> None:
    control, forkserver = socket.socketpair()
    channel, far_channel = socket.socketpair()
    reading, writing = os.pipe()
    exited = {"event": "exit", **asdict(ChildExit(ExitKind.EXITED, code=3))}
    with forkserver, far_channel, ExitStack() as ours:
        forkserver.sendall(
            frames.encode_message({"event": "started", "pid": 7, "layers": []}) + frames.encode_message(exited)
        )
        forkserver.close()
        _, relay, news = _await_start(control, TASK, ours)
        child = Child(
            7, Ends(control, channel, reading, tmp_path, relay), layers=frozenset(), max_frame_bytes=9, news=news
        )
        os.close(writing)
        with child:
            assert child.wait(0) == ChildExit(ExitKind.EXITED, code=3)
