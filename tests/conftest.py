"""What every test may ask for. Servers start at the first test that needs them, so unit tests never pay."""

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.mlflow_server import MlflowServer, shared_mlflow
from tests.support.postgres import PostgresServer, shared_server
from tests.support.stack import Stack, shared_stack

from carrara.persistence.database import Database


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this test run see."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def tests_pid() -> int:
    """The process whose end is the end of this test run."""
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()


@pytest.fixture(scope="session")
def postgres_server(shared_folder: Path, tests_pid: int) -> PostgresServer:
    """One real PostgreSQL for the whole run, with the roles of `carrara up`."""
    return shared_server(shared_folder, tests_pid)


@pytest.fixture(scope="session")
def stack(shared_folder: Path, tests_pid: int) -> Stack:
    """The whole platform, one for the whole run. Use it, do not break it: see `tests.support.stack.private_stack`."""
    return shared_stack(shared_folder, tests_pid)


@pytest.fixture
def database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database of this test's own, migrated, owned by a role that is no superuser."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """That database, as our code sees it."""
    opened = Database(database_url, pool_size=5)
    yield opened
    opened.close()


@pytest.fixture
def reachable_folder() -> Iterator[Path]:
    """Like `tmp_path`, but other users may pass through it: PostgreSQL does not run as root, confined jobs neither."""
    with tempfile.TemporaryDirectory(prefix="carrara-test-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.fixture(scope="session")
def mlflow_server(shared_folder: Path, tests_pid: int, postgres_server: PostgresServer) -> MlflowServer:
    """One real MLflow for the whole run; a test takes a project of its own in it."""
    return shared_mlflow(shared_folder, tests_pid, postgres_server)


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
                [sys.executable, "-m", "tests.support.make_models", draft],
                cwd=Path(__file__).parents[1],
                check=True,
                capture_output=True,
            )
            draft.rename(folder)
    return folder


@pytest.fixture(scope="session")
def trained_folder(model_folders: Path) -> Path:
    """A model folder as a training job writes it."""
    return model_folders / "trained"
