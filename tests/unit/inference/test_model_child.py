"""A process that was started and cannot be talked to, or that ends in a way nobody can tell."""

import asyncio
import os
import socket
import threading
from pathlib import Path

import pytest
from tests.support.releases import ODD_CONTRACT

from carrara.inference.conversation import Conversation
from carrara.inference.model_child import ModelChild, start_child
from carrara.inference.ports import ModelFolder
from carrara.inference.runtime import Deadlines, PythonRuntime
from carrara.sandbox.frames import encode_message

pytestmark = pytest.mark.anyio
MODEL = ModelFolder(Path("nowhere"), ODD_CONTRACT, "sklearn", "skops")


class Process:
    """Ends when it is killed, and then cannot say how, unless nobody could ever talk to it."""

    def __init__(self, *, is_deaf: bool = False) -> None:
        self.ended = threading.Event()
        self.is_deaf = is_deaf
        self.near, self.far = socket.socketpair()
        self.output, self.pipe = os.pipe()

    def take_socket(self) -> socket.socket:
        if self.is_deaf:
            raise OSError("no descriptor left")
        self.far.sendall(encode_message({"ready": True}))
        return self.near

    def output_fileno(self) -> int:
        return self.output

    def read_output(self) -> bytes | None:
        return None

    def kill(self) -> None:
        self.ended.set()
        self.far.close()

    def wait(self) -> str:
        self.ended.wait(10)
        for descriptor in (self.output, self.pipe):
            os.close(descriptor)
        self.near.close()
        if self.is_deaf:
            return "killed"
        raise RuntimeError("nobody knows")


class Launcher:
    """Gives its processes in turn; an exception among them is raised."""

    def __init__(self, *turns: Process | Exception) -> None:
        self.turns = list(turns)

    def launch(self, model: ModelFolder) -> Process:
        turn = self.turns.pop(0)
        if isinstance(turn, Exception):
            raise turn
        return turn

    def close(self) -> None:
        """Nothing to end."""


async def test_a_process_that_cannot_be_talked_to_is_ended() -> None:
    process = Process(is_deaf=True)

    with pytest.raises(OSError, match="no descriptor left"):
        await start_child(Launcher(process), MODEL, 5.0)

    assert process.ended.is_set()


async def test_an_end_that_cannot_be_told_is_an_end() -> None:
    process = Process()
    child = ModelChild(process, await Conversation.open(process.take_socket()))

    assert "nobody knows" in await child.end(grace=False)


async def test_a_process_is_replaced_whatever_the_first_try_raises() -> None:
    first, second = Process(), Process()
    launcher = Launcher(first, RuntimeError("nobody foresaw this"), second)
    runtime = PythonRuntime(launcher, MODEL, Deadlines(load=5.0, predict=5.0))
    await runtime.start()

    first.kill()

    async with asyncio.timeout(10):
        while launcher.turns or runtime.trouble:
            await asyncio.sleep(0.01)
    await runtime.close()
    assert second.ended.is_set()
