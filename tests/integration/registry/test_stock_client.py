"""The stock MLflow client through the proxy: what it logs and registers is there, adopted, and only its project's."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.support.live_app import live_app
from tests.support.mlflow_server import MlflowServer
from tests.support.people import make_actor, make_project, make_token

from carrara.access.domain import Actor, Project
from carrara.bootstrap.platform import Services, build
from carrara.kernel.config import Settings
from carrara.persistence.database import Database, Scope

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Live:
    """A running platform with one project and its author."""

    url: str
    services: Services
    database: Database
    project: Project
    author: Actor
    token: str

    def client(self, act: str, **environment: str) -> Any:
        """What `tests.support.mlflow_user` answers."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.mlflow_user", act],
            cwd=ROOT,
            env={
                **os.environ,
                "MLFLOW_TRACKING_URI": f"{self.url}/mlflow/quarry",
                "MLFLOW_TRACKING_TOKEN": self.token,
                "MLFLOW_DISABLE_TELEMETRY": "true",
                **environment,
            },
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout[done.stdout.index("{") :])

    def sql(self, query: str) -> list[Any]:
        with self.database.transaction(Scope(self.project.id, self.author.id)) as session:
            return list(session.execute(text(query)))


@pytest.fixture
def live(database: Database, database_url: str, tmp_path: Path, mlflow_server: MlflowServer) -> Iterator[Live]:
    settings = Settings.model_validate(
        {
            "database_url": database_url,
            "object_store": str(tmp_path / "store"),
            "data_dir": str(tmp_path),
            "mlflow_url": mlflow_server.url,
            "mlflow_secret": mlflow_server.secret,
            "max_upload_bytes": 8 << 20,
        }
    )
    author = make_actor(database, "ada")
    project = make_project(database, author, "quarry")
    services = build(settings)
    with live_app(services) as url:
        yield Live(url, services, database, project, author, make_token(database, author))


def test_what_the_client_registers_is_adopted_at_once(live: Live) -> None:
    told = live.client("log_and_register")
    assert told["history"] == pytest.approx([1, 1 / 2, 1 / 3])
    assert (told["text"], len(told["answers"]), told["found"], told["runs"]) == ("hello", 3, ["late-flights"], 1)
    assert told["tags"]["carrara.author"] == str(live.author.id)
    [version] = live.sql("SELECT v.*, m.name FROM versions v JOIN models m ON m.id = v.model_id")
    assert (version.name, version.number, version.state, version.source) == ("late-flights", 1, "registered", "mlflow")
    assert (version.author_id, version.mlflow_run_id) == (live.author.id, told["run_id"])
    [job] = live.sql("SELECT kind, spec, submitted_by FROM jobs")
    assert (job.kind, job.spec["version_id"], job.submitted_by) == ("validate", str(version.id), live.author.id)
    assert live.services.registry.sweep() == 0
    refused = live.client("try_forbidden")
    assert {name: error.partition(":")[0] for name, error in refused.items()} == {
        "alias": "PERMISSION_DENIED",
        "stage": "PERMISSION_DENIED",
        "delete version": "PERMISSION_DENIED",
        "delete model": "PERMISSION_DENIED",
        "delete run": "PERMISSION_DENIED",
        "our tag on a version": "PERMISSION_DENIED",
        "our tag on a run": "PERMISSION_DENIED",
        "our tag in a batch": "PERMISSION_DENIED",
        "a bad name": "INVALID_PARAMETER_VALUE",
        "a prompt": "INVALID_PARAMETER_VALUE",
    }
