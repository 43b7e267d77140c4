"""The stock MLflow client through the proxy: what it logs and registers is there, adopted, and only its project's."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from tests.support.jobs import CountingDoorbell, PlayHandler
from tests.support.live_app import live_app
from tests.support.mlflow_server import MlflowServer
from tests.support.people import give_roles, make_actor, make_project, make_token

from carrara.access.domain import Actor, MemberRole, Project
from carrara.bootstrap.platform import Services, build
from carrara.contracts.jobs import JobKind
from carrara.jobs.attempts import claim
from carrara.jobs.service import JobService
from carrara.kernel.config import Settings
from carrara.persistence.database import EVERYTHING, Database, Scope

ROOT = Path(__file__).parents[3]
API = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts/artifacts"


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


def call(
    live: Live, method: str, path: str, *, token: str | None = None, project: str = "quarry", **request: Any
) -> Any:
    """One raw call through the proxy."""
    headers = {"Authorization": f"Bearer {token or live.token}", **request.pop("headers", {})}
    return httpx.request(method, f"{live.url}/mlflow/{project}{path}", headers=headers, **request)


def make_run(live: Live) -> tuple[str, str]:
    """A run's id, and the place of its artifacts below the artifact route."""
    made = call(live, "POST", f"{API}/experiments/create", json={"name": "raw"}).json()
    run = call(live, "POST", f"{API}/runs/create", json={"experiment_id": made["experiment_id"]}).json()["run"]["info"]
    return run["run_id"], f"{FILES}/{run['artifact_uri'].removeprefix('mlflow-artifacts:/')}"


def test_files_stream_through_and_large_ones_are_refused(live: Live) -> None:
    run_id, place = make_run(live)
    data = os.urandom(3 << 20)
    assert call(live, "PUT", f"{place}/a folder/ä.bin", content=data).status_code == 200
    back = call(live, "GET", f"{place}/a folder/ä.bin")
    assert (back.status_code, back.content == data, back.headers["x-content-type-options"]) == (200, True, "nosniff")
    listed = call(live, "GET", f"{API}/artifacts/list", params={"run_id": run_id, "path": "a folder"}).json()
    assert [file["file_size"] for file in listed["files"]] == [len(data)]
    blocks = (b"x" * (1 << 20) for _ in range(9))
    assert call(live, "PUT", f"{place}/large", content=blocks).status_code == 413
    assert call(live, "GET", f"{place}/large").status_code == 404


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "UNAUTHENTICATED"),
        ({"Authorization": "Bearer wrong"}, 401, "UNAUTHENTICATED"),
        ({"Authorization": "Basic !!"}, 401, "UNAUTHENTICATED"),
    ],
)
def test_nobody_comes_in_without_a_valid_token(live: Live, headers: dict[str, str], status: int, code: str) -> None:
    for path in (f"{API}/experiments/get", "/graphql", "/", "/api/3.0/mlflow/server-info"):
        answer = httpx.get(f"{live.url}/mlflow/quarry{path}", headers=headers)
        assert (answer.status_code, answer.json()["error_code"]) == (status, code)


def test_another_project_sees_and_changes_nothing(live: Live) -> None:
    run_id, place = make_run(live)
    call(live, "PUT", f"{place}/model/MLmodel", content=b"mine")
    other = make_actor(live.database, "olga")
    make_project(live.database, other, "elsewhere")
    token = make_token(live.database, other)

    def attempt(method: str, path: str, **request: Any) -> Any:
        return call(live, method, path, token=token, project="elsewhere", **request)

    assert call(live, "GET", f"{API}/runs/get", token=token, params={"run_id": run_id}).status_code == 404
    workspace = place.split("/")[6]
    forged = {"X-MLFLOW-WORKSPACE": workspace}
    attempts = [
        attempt("GET", f"{API}/runs/get", params={"run_id": run_id}, headers=forged),
        attempt("POST", f"{API}/runs/log-metric", json={"run_id": run_id, "key": "a", "value": 1, "timestamp": 1}),
        attempt("GET", f"{API}/artifacts/list", params={"run_id": run_id}),
        attempt("GET", f"{place}/model/MLmodel", headers=forged),
        attempt("PUT", f"{place}/model/MLmodel", content=b"yours", headers=forged),
        attempt("GET", FILES, params={"path": f"workspaces/{workspace}"}),
        attempt("GET", f"{FILES}/x%2f..%2f..%2f{workspace}/y"),
    ]
    assert {answer.status_code for answer in attempts} <= {400, 403, 404}
    assert call(live, "GET", f"{place}/model/MLmodel").content == b"mine"


def test_a_viewer_reads_and_does_not_write(live: Live) -> None:
    run_id, place = make_run(live)
    viewer = make_actor(live.database, "vera")
    give_roles(live.database, live.author, live.project, "vera", MemberRole.VIEWER)
    token = make_token(live.database, viewer)
    assert call(live, "GET", f"{API}/runs/get", token=token, params={"run_id": run_id}).status_code == 200
    writes = [
        call(live, "POST", f"{API}/runs/set-tag", token=token, json={"run_id": run_id, "key": "a", "value": "b"}),
        call(live, "PUT", f"{place}/x", token=token, content=b"x"),
        call(live, "POST", f"{API}/registered-models/create", token=token, json={"name": "late"}),
    ]
    assert [(answer.status_code, answer.json()["error_code"]) for answer in writes] == [(403, "PERMISSION_DENIED")] * 3


def test_a_job_tracks_while_its_lease_lasts_and_registers_nothing(live: Live) -> None:
    with live.database.transaction(Scope(live.project.id, live.author.id)) as session:
        jobs = JobService({JobKind.TRAIN: PlayHandler()}, CountingDoorbell())
        jobs.submit(session, live.project.id, live.author.id, JobKind.TRAIN, {"do": "answer"})
    with live.database.transaction(EVERYTHING) as session:
        job = claim(session, {JobKind.TRAIN: PlayHandler()}, worker="test", lease_seconds=60)
    assert job is not None
    made = call(live, "POST", f"{API}/experiments/create", token=job.token, json={"name": "of a job"})
    assert made.status_code == 200
    register = call(live, "POST", f"{API}/registered-models/create", token=job.token, json={"name": "late"})
    assert (register.status_code, "register" in register.json()["message"]) == (403, True)
    assert call(live, "GET", f"{API}/experiments/get", token=job.token, project="other").status_code == 404
    live.sql("UPDATE jobs SET ready_at = now() - interval '1 second' RETURNING 1")
    late = call(live, "GET", f"{API}/experiments/get", token=job.token, params=made.json())
    assert (late.status_code, late.json()["error_code"]) == (401, "UNAUTHENTICATED")


def test_a_body_is_what_was_checked_and_nothing_else(live: Live) -> None:
    run_id, _ = make_run(live)
    twice = f'{{"run_id": "{run_id}", "key": "carrara.job", "value": "x", "key": "mine"}}'.encode()
    assert call(live, "POST", f"{API}/runs/set-tag", content=twice).status_code == 200
    tags = call(live, "GET", f"{API}/runs/get", params={"run_id": run_id}).json()["run"]["data"]["tags"]
    assert {tag["key"] for tag in tags} >= {"mine"}
    assert not any(tag["key"].startswith("carrara.") for tag in tags)
    odd = [b"[]", b'"{}"', b"{", b"[" * 100_000, b'{"tags": "x"}', b"\xff"]
    assert [call(live, "POST", f"{API}/runs/create", content=body).status_code for body in odd] == [400] * len(odd)
    assert call(live, "POST", f"{API}/runs/create", content=b"x" * (9 << 20)).status_code == 413


def test_an_mlflow_that_is_away_is_503(database: Database, database_url: str, tmp_path: Path) -> None:
    author = make_actor(database, "ada")
    make_project(database, author, "quarry")
    headers = {"Authorization": f"Bearer {make_token(database, author)}"}
    for url in ("http://127.0.0.1:9", None):
        settings = {"database_url": database_url, "object_store": str(tmp_path), "mlflow_url": url}
        with live_app(build(Settings.model_validate(settings))) as platform:
            answer = httpx.get(f"{platform}/mlflow/quarry{API}/experiments/get", headers=headers)
        assert (answer.status_code, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert "retry-after" in answer.headers
