"""Model processes as confined children of a forkserver: the real `ports.ModelLauncher`."""

import os
import socket
import threading
from pathlib import Path

from carrara.inference.ports import ModelFolder, ModelProcess
from carrara.kernel.errors import Unavailable
from carrara.sandbox.client import Child, Forkserver
from carrara.sandbox.domain import ChildTask, Level, Limits

_ENTRY = "carrara.inference.child:serve"
_PRELOAD = (
    "carrara.inference.child",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.impute",
    "sklearn.linear_model",
    "sklearn.pipeline",
)
_ENVIRONMENT = {  # one request at a time and several children: threads would only take turns
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "JOBLIB_MULTIPROCESSING": "0",
}
_PROCESSES = 64
_FILE_BYTES = 64 << 20


class ConfinedProcess:
    """One child. `kill` and `wait` may be called from different threads."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._waiting = threading.Lock()

    def take_socket(self) -> socket.socket:
        return socket.socket(fileno=os.dup(self._child.fileno()))

    def output_fileno(self) -> int:
        return self._child.output_fileno()

    def read_output(self) -> bytes | None:
        return self._child.read_output()

    def kill(self) -> None:
        self._child.kill("it is no longer wanted")

    def wait(self) -> str:
        with self._waiting:
            end = self._child.wait()
            self._child.close()
        if end is None:
            raise Unavailable("a child that was waited for without a deadline has no end")
        return f"{end.kind}: {end.message}" if end.message else str(end.kind)


class ConfinedLauncher:
    """Starts the forkserver with the first model, so a process without one stays small."""

    def __init__(self, runtime_dir: Path, *, level: str, memory_bytes: int) -> None:
        self._runtime_dir = runtime_dir
        self._level = level
        self._memory_bytes = memory_bytes
        self._forkserver: Forkserver | None = None
        self._starting = threading.Lock()

    def launch(self, model: ModelFolder) -> ModelProcess:
        forkserver = self._started()
        task = ChildTask(
            entry=_ENTRY,
            argument={
                "path": str(model.path.absolute()),
                "contract": model.contract.model_dump(mode="json"),
                "flavor": model.flavor,
                "serialization": model.serialization,
            },
            read_paths=(model.path.absolute(),),
            write_paths=(),
            limits=Limits(
                wall_seconds=None, memory_bytes=self._memory_bytes, processes=_PROCESSES, file_bytes=_FILE_BYTES
            ),
            level=forkserver.capabilities.achieved if self._level == "auto" else Level(self._level),
            allow_fork=False,
        )
        return ConfinedProcess(forkserver.spawn(task))

    def close(self) -> None:
        with self._starting:
            if self._forkserver is not None:
                self._forkserver.close()

    def _started(self) -> Forkserver:
        with self._starting:
            if self._forkserver is None:
                self._forkserver = Forkserver.start(_PRELOAD, runtime_dir=self._runtime_dir, environment=_ENVIRONMENT)
            return self._forkserver
