"""`carrara controller`, `carrara platform`: one real process of ours on a test's database, with its log."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class OwnProcess:
    """Runs until it is killed or ends. `crashpoint`: where it is to kill itself."""

    def __init__(self, name: str, database_url: str, folder: Path, *, crashpoint: str = "", **settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / f"{name}-{len(list(folder.glob(f'{name}-*.log')))}.log"
        free = {key: value for key, value in os.environ.items() if not key.startswith("CARRARA_")}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "carrara.cli.main", name],
                env={
                    **free,
                    "CARRARA_DATABASE_URL": database_url,
                    "CARRARA_OBJECT_STORE": str(folder / "store"),
                    "CARRARA_DATA_DIR": str(folder),
                    "CARRARA_CRASHPOINT": crashpoint,
                    **{f"CARRARA_{key.upper()}": value for key, value in settings.items()},
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Starter:
    """Starts processes of one test and ends them with it."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self._database_url = database_url
        self._folder = folder
        self.started: list[OwnProcess] = []

    def __call__(self, name: str, *, crashpoint: str = "", **settings: str) -> OwnProcess:
        process = OwnProcess(name, self._database_url, self._folder, crashpoint=crashpoint, **settings)
        self.started.append(process)
        return process


@contextmanager
def starter(database_url: str, folder: Path) -> Iterator[Starter]:
    """Gives a `Starter`; kills what it started when the block ends."""
    start = Starter(database_url, folder)
    try:
        yield start
    finally:
        for process in start.started:
            process.kill()
