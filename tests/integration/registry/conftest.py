"""MLflow for the tests of the registry."""

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.model_tracking import FakeTracking
from tests.support.mlflow_server import MlflowServer, shared_mlflow
from tests.support.postgres import PostgresServer
from tests.support.registry import PRELOAD, RegistryWorld, registry_world

from carrara.persistence.database import Database
from carrara.registry.mlflow_http import MlflowHttp
from carrara.registry.mlflow_rest import MlflowTracking
from carrara.sandbox.client import Forkserver

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def mlflow_server(shared_folder: Path, postgres_server: PostgresServer) -> MlflowServer:
    """One real MLflow for the whole run; a test takes a project of its own in it."""
    tests_pid = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    return shared_mlflow(shared_folder, tests_pid, postgres_server)


@pytest.fixture
def mlflow(mlflow_server: MlflowServer) -> Iterator[MlflowTracking]:
    http = MlflowHttp(mlflow_server.url, mlflow_server.secret)
    yield MlflowTracking(http)
    http.close()


@pytest.fixture(scope="session")
def forkserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forkserver]:
    """What makes the confined children; it has imported what a validation needs."""
    with Forkserver.start(PRELOAD, runtime_dir=Path(tempfile.mkdtemp(prefix="carrara-test-"))) as started:
        yield started


@pytest.fixture
def fake_tracking() -> FakeTracking:
    return FakeTracking()


@pytest.fixture(scope="session")
def model_folders(shared_folder: Path) -> Path:
    """Model folders by name, made once for the whole run."""
    folder = shared_folder / "models"
    with (shared_folder / "models.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            draft = shared_folder / "models.draft"
            draft.mkdir()
            subprocess.run(
                [sys.executable, "-m", "tests.support.make_models", draft], cwd=ROOT, check=True, capture_output=True
            )
            draft.rename(folder)
    return folder


@pytest.fixture(scope="session")
def trained_folder(model_folders: Path) -> Path:
    """A model folder as a training job writes it."""
    return model_folders / "trained"


@pytest.fixture
def world(
    database: Database, tmp_path: Path, fake_tracking: FakeTracking, forkserver: Forkserver
) -> Iterator[RegistryWorld]:
    """A registry whose MLflow is in memory."""
    with registry_world(database, tmp_path, fake_tracking, forkserver) as made:
        yield made
