"""What the data plane asks of a runtime, and a runtime of the process that holds a model."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from carrara.contracts.contract import ModelContract
from carrara.inference.mlmodel import Serialization


class Runtime(Protocol):
    """One loaded model. Calls may overlap; each gets the answer to its own rows."""

    @property
    def trouble(self) -> str | None:
        """Why it should get no more requests (it dies again and again), or None."""
        ...

    async def predict(self, columns: Mapping[str, Sequence[Any]], rows: int) -> dict[str, list[Any]]:
        """Outputs for decoded columns, checked against the contract (`outputs.checked_outputs`).

        `BadModelOutput`, `ModelRaised`, `ModelCrashed`, `ModelTooSlow`: the model's fault. `ModelUnavailable`: closed,
        or being replaced for too long.
        """
        ...

    async def close(self) -> None:
        """Lets go of the model. Calls that still wait get `ModelUnavailable`."""
        ...


@dataclass(frozen=True)
class ModelFolder:
    """A verified model folder and how to load it."""

    path: Path
    contract: ModelContract
    flavor: str
    serialization: Serialization


class ModelProcess(Protocol):
    """A confined child that speaks frames (`sandbox.frames`) on a stream socket."""

    def take_socket(self) -> socket.socket:
        """The stream, now the caller's to close."""
        ...

    def output_fileno(self) -> int:
        """What it prints, for a selector; whoever holds the process must read it, or it stops at a full pipe."""
        ...

    def read_output(self) -> bytes | None:
        """What it printed since the last call, b"" if nothing, None at the end. Does not block."""
        ...

    def kill(self) -> None:
        """Ends it and all it started. Does not wait; harmless when it has ended."""
        ...

    def wait(self) -> str:
        """Blocks until it has ended, lets go of everything, and says how it ended, for people. Call it once."""
        ...


class ModelLauncher(Protocol):
    """Starts confined children. Blocking: call it from a thread."""

    def launch(self, model: ModelFolder) -> ModelProcess:
        """A child that is loading this model. `Refused(sandbox_refused)` if the machine cannot confine it enough."""
        ...

    def close(self) -> None:
        """Ends every child."""
        ...
