"""One real MLflow for a whole test run, as `carrara up` runs it: its own database, the secret, workspaces.

A keeper process owns it and stops it when the tests end, however they end.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from tests.support.object_store import free_port
from tests.support.postgres import PostgresServer
from tests.support.waiting import eventually

SECRET = "a-secret-of-the-tests-only"


@dataclass(frozen=True)
class MlflowServer:
    """A running MLflow; only who shows `secret` gets an answer."""

    url: str
    secret: str = SECRET


def shared_mlflow(shared: Path, tests_pid: int, postgres: PostgresServer) -> MlflowServer:
    """The server of this test run; `shared` is a folder that all its workers see."""
    told = shared / "mlflow.json"
    with (shared / "mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            _start_keeper(told, tests_pid, postgres, shared / "mlflow-keeper.log")
    return MlflowServer(**json.loads(told.read_text()))


def _start_keeper(told: Path, tests_pid: int, postgres: PostgresServer, log_path: Path) -> None:
    asked = json.dumps({"told": str(told), "tests_pid": tests_pid, "postgres": vars(postgres)})
    with log_path.open("w") as log:
        keeper = subprocess.Popen(
            [sys.executable, __file__, asked],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
    deadline = time.monotonic() + 180
    while not told.exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the test MLflow did not start:\n{log_path.read_text()}")
        time.sleep(0.05)
    keeper.returncode = 0  # it outlives us on purpose: no ResourceWarning


def _keep(told: Path, tests_pid: int, postgres: PostgresServer) -> None:
    tests = psutil.Process(tests_pid)
    home = Path(tempfile.mkdtemp(prefix="carrara-tests-mlflow-"))
    port = free_port()
    with postgres.database(migrated=False) as database_url:
        child = subprocess.Popen(
            [sys.executable, "-m", "carrara.embedded.mlflow_app"],
            env={
                **os.environ,
                "CARRARA_MLFLOW_PORT": str(port),
                "CARRARA_MLFLOW_SECRET": SECRET,
                "CARRARA_MLFLOW_DATABASE_URL": database_url,
                "CARRARA_MLFLOW_ARTIFACTS": str(home),
            },
        )
        try:
            server = MlflowServer(f"http://127.0.0.1:{port}")
            eventually(lambda: _answers(server), within_seconds=120, what="MLflow answers")
            draft = told.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps(vars(server)))
            draft.rename(told)
            tests.wait()
        finally:
            child.kill()
            child.wait()
            shutil.rmtree(home, ignore_errors=True)


def _answers(server: MlflowServer) -> bool:
    try:
        return httpx.get(f"{server.url}/health", headers={"x-carrara-mlflow-secret": server.secret}).is_success
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    _asked = json.loads(sys.argv[1])
    _keep(Path(_asked["told"]), _asked["tests_pid"], PostgresServer(**_asked["postgres"]))
