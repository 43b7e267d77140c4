"""A worker process for tests: the real one, with the play job as its only kind. Settings come from CARRARA_*."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.jobs import PlayHandler
from tests.support.waiting import eventually

from carrara.bootstrap.job_worker import serve
from carrara.contracts.jobs import JobKind
from carrara.kernel.config import Settings

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class WorkerProcess:
    """One worker. `kill` is kill -9 of it alone: what it started must end by itself."""

    environment: dict[str, str]
    log_path: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.job_worker"],
                cwd=ROOT,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def until_ready(self) -> None:
        eventually(lambda: "ready for" in self.log(), within_seconds=60, what="the worker is ready")

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def play_handler() -> PlayHandler:
    """The play job; children see the folder CARRARA_TEST_SIGNS as well."""
    signs = os.environ.get("CARRARA_TEST_SIGNS")
    handler = PlayHandler()
    if signs:
        handler.import_paths = (*handler.import_paths, Path(signs))
    return handler


if __name__ == "__main__":
    serve(Settings(), {JobKind.TRAIN: play_handler()}, ())
