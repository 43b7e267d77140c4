"""The Python runtime: a confined child per loaded release. The parent sends columns, gets outputs, never unpickles.

One request is with the child at a time, the others wait here; so a child that gets stuck is known by the one request
it holds, and is killed and replaced while the others keep their place.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from carrara.inference.conversation import ChildEnded
from carrara.inference.failures import (
    BadModelOutput,
    LoadFailed,
    ModelCrashed,
    ModelRaised,
    ModelTooSlow,
    ModelUnavailable,
)
from carrara.inference.model_child import ModelChild, failure_of, start_child
from carrara.inference.outputs import checked_outputs
from carrara.inference.ports import ModelFolder, ModelLauncher
from carrara.kernel.errors import CarraraError

log = logging.getLogger(__name__)

DEATHS_THAT_ARE_TROUBLE = 3
_DEATH_WINDOW_SECONDS = 60.0
_BACK_OFF_SECONDS = (0.0, 0.5, 2.0, 5.0, 15.0, 30.0)
_REPLY_BYTES = 1 << 20
_REPLY_BYTES_A_ROW = 64 << 10


@dataclass(frozen=True)
class Deadlines:
    """In seconds. `predict` counts for the caller from its call, and for the child from when it gets the rows."""

    load: float
    predict: float


@dataclass(eq=False)
class _Call:
    columns: Mapping[str, Sequence[Any]]
    rows: int
    answer: asyncio.Future[dict[str, list[Any]]]

    def fail(self, error: CarraraError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(eq=False)
class _Turn:
    """The request that the child has now."""

    call: _Call
    number: int
    deadline: asyncio.TimerHandle
    was_stuck: bool = False


class PythonRuntime:
    """A model in a child of its own, replaced when it dies. Lives on one event loop."""

    def __init__(self, launcher: ModelLauncher, model: ModelFolder, deadlines: Deadlines) -> None:
        self._launcher = launcher
        self._model = model
        self._deadlines = deadlines
        self._child: ModelChild | None = None
        self._turn: _Turn | None = None
        self._numbers = 0
        self._waiting: deque[_Call] = deque()
        self._deaths: deque[float] = deque(maxlen=DEATHS_THAT_ARE_TROUBLE)
        self._failed_starts = 0
        self._last_end = ""
        self._is_closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def trouble(self) -> str | None:
        now = asyncio.get_running_loop().time()
        recent = [at for at in self._deaths if now - at < _DEATH_WINDOW_SECONDS]
        if len(recent) >= DEATHS_THAT_ARE_TROUBLE:
            return f"its process died {len(recent)} times within {_DEATH_WINDOW_SECONDS:.0f} s: {self._last_end}"
        if self._child is None and self._failed_starts:
            return f"its process cannot be started again: {self._last_end}"
        return None

    async def start(self) -> None:
        """Loads the model. `LoadFailed`, `UnsafeModel`, `LoadTimedOut`, `Refused(sandbox_refused)`."""
        child = await start_child(self._launcher, self._model, self._deadlines.load)
        if self._is_closed:
            await child.end(grace=False)
            raise LoadFailed("the release is no longer wanted")
        self._adopt(child)

    async def predict(self, columns: Mapping[str, Sequence[Any]], rows: int) -> dict[str, list[Any]]:
        if self._is_closed:
            raise _unloaded()
        if self._child is None and self._failed_starts:
            raise self._restarting()
        loop = asyncio.get_running_loop()
        call = _Call(columns, rows, loop.create_future())
        timer = loop.call_later(self._deadlines.predict, call.fail, self._too_slow())
        self._waiting.append(call)
        self._pump()
        try:
            return await call.answer
        finally:
            timer.cancel()

    async def close(self) -> None:
        self._is_closed = True
        child, self._child = self._child, None
        turn = self._end_turn()
        for call in [*self._waiting, *([turn.call] if turn else [])]:
            call.fail(_unloaded())
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if child is not None:
            await child.end(grace=False)

    def _adopt(self, child: ModelChild) -> None:
        self._child = child
        child.conversation.listen(lambda message: self._heard(child, message), lambda end: self._lost(child, end))
        self._pump()

    def _pump(self) -> None:
        """Gives the child its next request, if it has none."""
        child = self._child
        if child is None or self._turn is not None:
            return
        while self._waiting:
            call = self._waiting.popleft()
            if call.answer.done():
                continue
            self._numbers += 1
            timer = asyncio.get_running_loop().call_later(self._deadlines.predict, self._stuck, child)
            self._turn = _Turn(call, self._numbers, timer)
            limit = _REPLY_BYTES + call.rows * _REPLY_BYTES_A_ROW
            child.conversation.send({"id": self._numbers, "columns": call.columns}, max_reply_bytes=limit)
            return

    def _end_turn(self) -> _Turn | None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.deadline.cancel()
        return turn

    def _stuck(self, child: ModelChild) -> None:
        log.warning("a model did not answer within %g s; its process is killed", self._deadlines.predict)
        if self._turn is not None:
            self._turn.was_stuck = True
        child.kill()

    def _heard(self, child: ModelChild, message: dict[str, Any]) -> None:
        if self._turn is None or message.get("id") != self._turn.number:
            child.kill("it sent a message that nobody asked for")
            return
        turn = self._end_turn()
        if turn is None:
            return
        try:
            outputs = _outputs_of(message, turn.call.rows, self._model)
        except CarraraError as error:
            turn.call.fail(error)
        else:
            if not turn.call.answer.done():
                turn.call.answer.set_result(outputs)
        self._pump()

    def _lost(self, child: ModelChild, end: ChildEnded) -> None:
        """The child's end of the stream is gone, or it said something that is no message."""
        child.fault = child.fault or end.fault
        if child is not self._child:
            return
        self._child = None
        self._deaths.append(asyncio.get_running_loop().time())
        task = asyncio.get_running_loop().create_task(self._replace(child, self._end_turn()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _replace(self, child: ModelChild, turn: _Turn | None) -> None:
        if turn is not None and turn.was_stuck:
            turn.call.fail(self._too_slow())
        ending = asyncio.ensure_future(child.end(grace=not child.fault))
        try:
            self._last_end = await asyncio.shield(ending)
        finally:
            if turn is not None:
                kind: type[CarraraError] = BadModelOutput if child.fault else ModelCrashed
                turn.call.fail(kind(f"the model's process ended while it had this request: {self._last_end}"))
        log.warning("a model's process ended and is replaced: %s", self._last_end)
        while True:
            tries = max(len(self._deaths) - 1, self._failed_starts)
            await asyncio.sleep(_BACK_OFF_SECONDS[min(tries, len(_BACK_OFF_SECONDS) - 1)])
            try:
                fresh = await start_child(self._launcher, self._model, self._deadlines.load)
            except Exception as error:  # whatever it is: without another try no request is ever answered again
                self._failed_starts += 1
                self._last_end = str(error)
                is_foreseen = isinstance(error, CarraraError)
                log.warning("a model could not be started again: %s", error, exc_info=not is_foreseen)
                while self._waiting:
                    self._waiting.popleft().fail(self._restarting())
                continue
            self._failed_starts = 0
            self._adopt(fresh)
            return

    def _too_slow(self) -> ModelTooSlow:
        seconds = self._deadlines.predict
        return ModelTooSlow(f"no answer within {seconds:g} s", seconds=seconds)

    def _restarting(self) -> ModelUnavailable:
        return ModelUnavailable(f"the model is being restarted: {self._last_end}", code="model_restarting")


def _unloaded() -> ModelUnavailable:
    return ModelUnavailable("this release was just unloaded; send the request again", code="not_ready")


def _outputs_of(message: dict[str, Any], rows: int, model: ModelFolder) -> dict[str, list[Any]]:
    if "failed" in message:
        raise failure_of(message, ModelRaised)
    outputs = message.get("outputs")
    if not isinstance(outputs, dict):
        raise BadModelOutput("the model's process answered without outputs")
    return checked_outputs(outputs, rows, model.contract)
