"""The whole platform, as `carrara up` starts it, for tests that tell a story from end to end.

`shared_stack` is one for the whole test run: tests that only use the platform share it. A test that kills or stops
processes takes `private_stack`, which is its own.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from carrara.embedded.ports import free_port
from carrara.embedded.status import StackStatus, Verdict, look

_CARRARA = [sys.executable, "-m", "carrara.cli.main"]
_START_SECONDS = 240


@dataclass(frozen=True)
class Stack:
    """A running platform. `kill` is for private ones only."""

    data_dir: Path
    url: str
    serving_url: str

    @property
    def admin_token(self) -> str:
        return (self.data_dir / "admin-token").read_text().strip()

    def status(self) -> StackStatus:
        return look(self.data_dir)

    def is_healthy(self) -> bool:
        return self.status().verdict is Verdict.HEALTHY

    def pid_of(self, name: str) -> int:
        """Of a process by its name in `processes.py`, or `supervisor`."""
        status = self.status()
        found = {row.name: row.pid for row in status.processes} | {"supervisor": status.supervisor_pid}
        pid = found[name]
        assert pid is not None, f"{name} does not run: {status}"
        return pid

    def kill(self, name: str) -> int:
        """SIGKILL, without a warning; gives the pid that was."""
        pid = self.pid_of(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def log_of(self, name: str) -> str:
        return (self.data_dir / "logs" / f"{name}.log").read_text(errors="replace")


def start_stack(data_dir: Path, environment: Mapping[str, str] | None = None) -> Stack:
    """`carrara up --detach`; AssertionError with what it said if it does not become ready."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("CARRARA_")}
    known = data_dir / "run" / "ports.json"
    ports = [] if known.exists() else [f"--port={free_port()}", f"--serving-port={free_port()}"]
    done = subprocess.run(
        [*_CARRARA, "up", "--detach", "--data-dir", str(data_dir), *ports],
        env={**inherited, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_START_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"carrara up ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    client = json.loads((data_dir / "client.json").read_text())
    return Stack(data_dir, client["url"], client["serving_url"])


def stop_stack(data_dir: Path) -> None:
    """`carrara down`, which also ends what a killed supervisor may have left."""
    subprocess.run([*_CARRARA, "down", "--data-dir", str(data_dir)], capture_output=True, timeout=60, check=False)


@contextlib.contextmanager
def private_stack(environment: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """A platform of one test's own, in a folder that other users may pass through; all of it is gone afterwards."""
    with open_folder("carrara-stack-") as folder:
        try:
            yield start_stack(folder / "data", environment)
        finally:
            stop_stack(folder / "data")


@contextlib.contextmanager
def open_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder that PostgreSQL and confined jobs, which are other users under root, can reach."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def shared_stack(shared: Path, tests_pid: int) -> Stack:
    """The platform of this test run; `shared` is a folder that all its workers see. It ends with the run."""
    told = shared / "stack.json"
    with (shared / "stack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            folder = Path(tempfile.mkdtemp(prefix="carrara-stack-"))
            folder.chmod(0o711)
            keeper = subprocess.Popen(
                [sys.executable, __file__, str(folder), str(tests_pid)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            keeper.returncode = 0  # it outlives us on purpose: no ResourceWarning
            stack = start_stack(folder / "data")
            told.write_text(json.dumps([str(stack.data_dir), stack.url, stack.serving_url]))
    data_dir, url, serving_url = json.loads(told.read_text())
    return Stack(Path(data_dir), url, serving_url)


def _keep(folder: Path, tests_pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(tests_pid).wait()
    stop_stack(folder / "data")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _keep(Path(sys.argv[1]), int(sys.argv[2]))
