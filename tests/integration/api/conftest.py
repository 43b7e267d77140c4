"""The real application over a real database and a directory store, called in-process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.support.people import make_actor, make_token

from carrara.access.domain import Actor
from carrara.api.app import create_app
from carrara.bootstrap.platform import Services, build
from carrara.kernel.config import Settings
from carrara.persistence.database import Database


@pytest.fixture
def services(database_url: str, tmp_path: Path) -> Services:
    settings = Settings.model_validate(
        {"database_url": database_url, "object_store": str(tmp_path / "store"), "data_dir": str(tmp_path)}
    )
    return build(settings)


@pytest.fixture
def client(services: Services) -> Iterator[TestClient]:
    with TestClient(create_app(services), raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def admin(database: Database) -> Actor:
    return make_actor(database, "root", is_platform_admin=True)


@pytest.fixture
def as_admin(database: Database, admin: Actor) -> dict[str, str]:
    return {"Authorization": f"Bearer {make_token(database, admin)}"}
