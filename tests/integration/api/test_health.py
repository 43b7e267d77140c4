"""Readiness tells which part is away, and only what writes need makes it fail."""

from dataclasses import replace
from pathlib import Path

from fastapi.testclient import TestClient
from sqlalchemy import text

from carrara.api.app import create_app
from carrara.bootstrap.platform import Services, build
from carrara.kernel.config import Settings


def test_a_queue_and_a_tracker_that_are_away_degrade_and_fail_nothing(database_url: str, tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {
            "database_url": database_url,
            "object_store": str(tmp_path / "store"),
            "data_dir": str(tmp_path),
            "redis_url": "redis://127.0.0.1:1/0",
            "mlflow_url": "http://127.0.0.1:1",
        }
    )
    with TestClient(create_app(build(settings))) as client:
        answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["checks"] == {"database": "ok", "object_store": "ok", "schema": "ok"}
    assert set(answer.json()["degraded"]) == {"redis", "mlflow"}


def test_another_schema_is_not_ready(services: Services) -> None:
    with services.database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    with TestClient(create_app(replace(services))) as client:
        answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["database"]) == (503, "ok")
    assert "carrara migrate" in answer.json()["checks"]["schema"]
