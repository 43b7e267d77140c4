"""MLflow for the tests of the registry."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.model_tracking import FakeTracking
from tests.support.mlflow_server import MlflowServer
from tests.support.registry import PRELOAD, RegistryWorld, registry_world

from carrara.persistence.database import Database
from carrara.registry.mlflow_http import MlflowHttp
from carrara.registry.mlflow_rest import MlflowTracking
from carrara.sandbox.client import Forkserver


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


@pytest.fixture
def world(
    database: Database, tmp_path: Path, fake_tracking: FakeTracking, forkserver: Forkserver
) -> Iterator[RegistryWorld]:
    """A registry whose MLflow is in memory."""
    with registry_world(database, tmp_path, fake_tracking, forkserver) as made:
        yield made
