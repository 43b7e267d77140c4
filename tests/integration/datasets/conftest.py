"""A project with people in it, the API over it, and the flights."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.support.flights import unpack_flights
from tests.support.people import make_actor, make_project, make_token

from carrara.access.domain import Actor, Project
from carrara.api.app import create_app
from carrara.bootstrap.platform import Services, build
from carrara.kernel.config import Settings
from carrara.persistence.database import Database
from carrara.storage.blobs import Blobs
from carrara.storage.directory import DirectoryStore


@pytest.fixture(scope="session")
def flights_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_flights(tmp_path_factory.mktemp("flights"))


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(DirectoryStore(tmp_path / "store"))


@pytest.fixture
def ada(database: Database) -> Actor:
    return make_actor(database, "ada")


@pytest.fixture
def project(database: Database, ada: Actor) -> Project:
    return make_project(database, ada, "flights")


@pytest.fixture
def services(database_url: str, tmp_path: Path) -> Services:
    settings = Settings.model_validate(
        {
            "database_url": database_url,
            "object_store": str(tmp_path / "store"),
            "data_dir": str(tmp_path / "data"),
            "max_upload_bytes": 64 << 20,
        }
    )
    return build(settings)


@pytest.fixture
def client(services: Services, database: Database, project: Project, ada: Actor) -> Iterator[TestClient]:
    """The API, called as ada, who may do everything in the project."""
    headers = {"Authorization": f"Bearer {make_token(database, ada)}"}
    with TestClient(create_app(services), raise_server_exceptions=False, headers=headers) as opened:
        yield opened
