"""One confined child with a loaded model, from its start to the account of its end."""

import asyncio
import logging
import threading
from collections.abc import Mapping
from typing import Any

from carrara.inference.conversation import ChildEnded, Conversation
from carrara.inference.failures import BadModelOutput, LoadFailed, ModelRaised, UnsafeModel
from carrara.inference.ports import ModelFolder, ModelLauncher, ModelProcess
from carrara.kernel.errors import CarraraError

log = logging.getLogger(__name__)

_GRACE_SECONDS = 2.0
_EXIT_SECONDS = 10.0
_PRINTED_BYTES = 2000
_MAX_MESSAGE = 2000
_KINDS: Mapping[str, type[CarraraError]] = {
    "bad_model_output": BadModelOutput,
    "model_raised": ModelRaised,
    "unsafe_model": UnsafeModel,
}


class LoadTimedOut(LoadFailed):
    """The model was not loaded within the deadline; its child was killed."""

    default_code = "load_timeout"


class ModelChild:
    """A child and its conversation. `fault`: what it did against the protocol, or empty."""

    def __init__(self, process: ModelProcess, conversation: Conversation) -> None:
        self.conversation = conversation
        self.fault = ""
        self._process = process
        self._printed = b""
        asyncio.get_running_loop().add_reader(process.output_fileno(), self._read_output)

    def kill(self, fault: str = "") -> None:
        """Ends it; its conversation will tell. Does not wait."""
        self.fault = self.fault or fault
        self._process.kill()

    async def end(self, *, grace: bool) -> str:
        """How it ended, after making sure that it does; call it once. `grace`: it seems to be going by itself."""
        asyncio.get_running_loop().remove_reader(self._process.output_fileno())
        self.conversation.close()
        if not grace:
            self._process.kill()
        waiting = asyncio.ensure_future(asyncio.to_thread(self._process.wait))
        done, _ = await asyncio.wait({waiting}, timeout=_GRACE_SECONDS if grace else _EXIT_SECONDS)
        if not done:
            self._process.kill()
            done, _ = await asyncio.wait({waiting}, timeout=_EXIT_SECONDS)
        if self._printed:
            log.info("a model's process printed last: %s", self._printed.decode(errors="replace"))
        return self.fault or (_told(waiting) if done else "it does not end")

    def _read_output(self) -> None:
        text = self._process.read_output()
        if text is None:
            asyncio.get_running_loop().remove_reader(self._process.output_fileno())
        elif text:
            self._printed = (self._printed + text)[-_PRINTED_BYTES:]


def _told(waiting: asyncio.Future[str]) -> str:
    """What the wait gave; that it failed must not keep the child from being replaced."""
    error = waiting.exception()
    if error is None:
        return waiting.result()
    log.error("the end of a model's process could not be learnt", exc_info=error)
    return f"nobody knows how: {error}"


async def start_child(launcher: ModelLauncher, model: ModelFolder, load_seconds: float) -> ModelChild:
    """A child that has loaded the model. `LoadFailed`, `UnsafeModel`, `LoadTimedOut`, `Refused(sandbox_refused)`."""
    child = await _converse(await _launch(launcher, model))
    try:
        async with asyncio.timeout(load_seconds):
            first = await child.conversation.first
    except TimeoutError as error:
        await child.end(grace=False)
        message = f"the model was not loaded within {load_seconds:g} s"
        raise LoadTimedOut(message, seconds=load_seconds) from error
    except BaseException:
        await asyncio.shield(child.end(grace=False))
        raise
    if isinstance(first, ChildEnded):
        child.fault = first.fault
        raise LoadFailed(f"the model's process ended while it loaded: {await child.end(grace=not first.fault)}")
    if first.get("ready") is not True:
        await child.end(grace=False)
        raise failure_of(first, LoadFailed)
    return child


def failure_of(message: Mapping[str, Any], default: type[CarraraError]) -> CarraraError:
    """What a child says went wrong, as an error. It chooses among the model's faults and nothing else."""
    text = message.get("message")
    kind = _KINDS.get(str(message.get("failed")), default)
    return kind(text[:_MAX_MESSAGE] if isinstance(text, str) else "the model's process gave no reason")


async def _converse(process: ModelProcess) -> ModelChild:
    try:
        return ModelChild(process, await Conversation.open(process.take_socket()))
    except BaseException:  # no descriptor left, or we are no longer wanted: the child must not stay
        _end_in_thread(process)
        raise


async def _launch(launcher: ModelLauncher, model: ModelFolder) -> ModelProcess:
    launching = asyncio.ensure_future(asyncio.to_thread(launcher.launch, model))
    try:
        return await asyncio.shield(launching)
    except asyncio.CancelledError:
        launching.add_done_callback(_end_unwanted)
        raise


def _end_unwanted(launching: asyncio.Future[ModelProcess]) -> None:
    """A thread cannot be cancelled: the child that it started meanwhile is ended here."""
    if not launching.cancelled() and launching.exception() is None:
        _end_in_thread(launching.result())


def _end_in_thread(process: ModelProcess) -> None:
    process.kill()
    threading.Thread(target=process.wait, daemon=True).start()
