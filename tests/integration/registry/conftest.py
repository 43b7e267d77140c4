"""MLflow for the tests of the registry."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.mlflow import MlflowServer, shared_mlflow
from tests.support.postgres import PostgresServer

from carrara.registry.mlflow_http import MlflowHttp
from carrara.registry.mlflow_rest import MlflowTracking


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
