"""Killed after any durable step, what was trained is registered exactly once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.mlflow_server import MlflowServer
from tests.support.registry import RegistryWorld, registry_world, trained_model

from carrara.persistence.database import Database
from carrara.persistence.outbox import enqueue
from carrara.registry.mlflow_http import MlflowHttp
from carrara.registry.mlflow_rest import MlflowTracking

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parents[2]
POINTS = ("after_run", "after_log", "after_upload", "after_version", "after_commit")


@pytest.mark.parametrize("point", POINTS)
def test_fault_f01_killed_after_any_step_a_version_is_registered_once(
    database: Database, database_url: str, tmp_path: Path, mlflow_server: MlflowServer, trained_folder: Path, point: str
) -> None:
    http = MlflowHttp(mlflow_server.url, mlflow_server.secret)
    with registry_world(database, tmp_path, MlflowTracking(http), None) as world:
        trained = trained_model(world, trained_folder)
        with database.transaction(world.scope) as session:
            enqueue(session, world.project.id, "registry.register_trained", trained.model_dump(mode="json"))
        assert deliver(database_url, tmp_path, mlflow_server, f"register_trained.{point}") == -9
        world.sql("UPDATE outbox SET ready_at = now() RETURNING 1")
        assert deliver(database_url, tmp_path, mlflow_server, None) == 0
        check_registered_once(world, str(trained.job_id))
    http.close()


def check_registered_once(world: RegistryWorld, job_id: str) -> None:
    project = world.tracking.of(world.project.id)
    assert [version.tags["carrara.job"] for version in project.versions()] == [job_id]
    runs = project._post("runs/search", {"experiment_ids": [project.experiment("delays")]})["runs"]  # type: ignore[attr-defined]
    assert [(run["info"]["status"], len(run["data"]["metrics"])) for run in runs] == [("FINISHED", 2)]
    assert len(world.sql("SELECT 1 FROM versions")) == 1
    assert len(world.sql("SELECT 1 FROM jobs WHERE kind = 'validate'")) == 1
    assert world.actions() == ["version.registered"]
    assert world.sql("SELECT 1 FROM outbox WHERE done_at IS NULL") == []


def deliver(database_url: str, folder: Path, mlflow: MlflowServer, crashpoint: str | None) -> int:
    """Delivers what waits in the outbox, in a process of its own; how that ended."""
    environment = {
        **os.environ,
        "CARRARA_DATABASE_URL": database_url,
        "CARRARA_OBJECT_STORE": str(folder / "objects"),
        "CARRARA_MLFLOW_URL": mlflow.url,
        "CARRARA_MLFLOW_SECRET": mlflow.secret,
        **({"CARRARA_CRASHPOINT": crashpoint} if crashpoint else {}),
    }
    command = [sys.executable, "-m", "tests.support.deliver_outbox"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=crashpoint is not None).returncode
