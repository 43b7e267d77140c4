"""`carrara up` with stand-ins for our own processes: the real supervisor, the real plan, and real servers if asked.

As a program it runs the platform: `small_platform.py DATA_DIR '{"worker": ["--deaf"]}'`. `SmallPlatform` starts that.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from tests.support.waiting import eventually

from carrara.embedded.children import Identity, is_alive
from carrara.embedded.layout import DataDirectory
from carrara.embedded.plan import AskedPorts
from carrara.embedded.stack import run_stack
from carrara.embedded.state import StackRecord
from carrara.kernel.errors import CarraraError
from carrara.processes import PROCESSES, ProcessSpec

STAND_IN = Path(__file__).with_name("stand_in.py")
NO_SERVERS = {
    "CARRARA_DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none",
    "CARRARA_REDIS_URL": "redis://127.0.0.1:1/0",
    "CARRARA_MLFLOW_URL": "http://127.0.0.1:1",
}


def with_stand_ins(behaviour: Mapping[str, Sequence[str]]) -> list[ProcessSpec]:
    """The list of all processes, ours replaced by small ones that behave as said."""
    specs = []
    for spec in PROCESSES:
        if spec.name == "migrate":
            argv: tuple[str, ...] = ("python", "-c", "pass")
            spec = replace(spec, argv=argv)
        elif spec.argv[0] == "carrara":
            port = ("--port-from", spec.port_variable) if spec.port_variable else ()
            spec = replace(spec, argv=("python", str(STAND_IN), *port, *behaviour.get(spec.name, ())))
        specs.append(spec)
    return specs


class SmallPlatform:
    """One such platform in a process of its own. `stop` it, or kill it."""

    def __init__(
        self,
        data_dir: Path,
        *,
        environment: Mapping[str, str] = NO_SERVERS,
        behaviour: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.place = DataDirectory(data_dir)
        self._log_path = data_dir.with_name(f"{data_dir.name}.events")
        free = {key: value for key, value in os.environ.items() if not key.startswith("CARRARA_")}
        with self._log_path.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(data_dir), json.dumps(behaviour or {})],
                env={**free, **environment, "PYTHONPATH": str(Path(__file__).parents[2])},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def events(self) -> list[dict[str, Any]]:
        lines = self._log_path.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    @property
    def record(self) -> StackRecord:
        record = self.place.run.read()
        assert record is not None, "it has not started yet"
        return record

    def identity_of(self, name: str) -> Identity:
        identity = {row.name: row.identity for row in self.record.processes}[name]
        assert identity is not None, f"{name} does not run"
        return identity

    def wait_until_ready(self, within_seconds: float = 60.0) -> None:
        def is_ready() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError(f"it ended with {self.process.returncode}:\n{self._log_path.read_text()[-3000:]}")
            return any(event["event"] == "ready" for event in self.events)

        eventually(is_ready, within_seconds=within_seconds, what="every process is ready")

    def wait_until_again(self, name: str, before: Identity, within_seconds: float = 60.0) -> Identity:
        """The new identity of a process that was killed, once it is ready again."""

        def is_new() -> Identity | None:
            row = next(row for row in self.record.processes if row.name == name)
            return row.identity if row.identity != before and row.state in ("ready", "running") else None

        found = eventually(is_new, within_seconds=within_seconds, what=f"{name} runs again")
        assert found is not None
        return found

    def identities(self) -> list[Identity]:
        return [row.identity for row in self.record.processes if row.identity]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=15)

    def __enter__(self) -> "SmallPlatform":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def none_alive(identities: Sequence[Identity]) -> bool:
    return not any(is_alive(identity) for identity in identities)


def pid_is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def _main() -> None:
    def tell(event: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()

    try:
        specs = with_stand_ins(json.loads(sys.argv[2]))
        run_stack(Path(sys.argv[1]), AskedPorts(), os.environ, report=tell, specs=specs)
    except CarraraError as error:
        tell({"event": "error", "code": error.code, "message": error.message})
        sys.exit(1)


if __name__ == "__main__":
    _main()
