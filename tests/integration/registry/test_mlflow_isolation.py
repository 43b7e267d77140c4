"""MLflow's workspaces divide projects (docs/adr/0004-mlflow-projects.md): every way that was tried when chosen.

These go past our proxy, to MLflow itself: the wall must hold without our own checks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from tests.support.mlflow_server import MlflowServer

from carrara.kernel.ids import ProjectId, uuid7
from carrara.registry.mlflow_http import MlflowHttp
from carrara.registry.mlflow_rest import MlflowTracking, workspace_of

API = "/api/2.0/mlflow"
AJAX = "/ajax-api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass(frozen=True)
class Owned:
    """What project A has, and a client that speaks for project B."""

    experiment: str
    run: str
    uri: str
    path: str
    workspace: str
    logged_model: str
    other: httpx.Client
    owner: httpx.Client


@pytest.fixture(scope="module")
def owned(mlflow_server: MlflowServer) -> Iterator[Owned]:
    http = MlflowHttp(mlflow_server.url, mlflow_server.secret)
    tracking, ids = MlflowTracking(http), [ProjectId(uuid7()), ProjectId(uuid7())]
    clients = []
    for project_id in ids:
        tracking.of(project_id).register_model("m")
        headers = {"x-carrara-mlflow-secret": mlflow_server.secret, "x-mlflow-workspace": workspace_of(project_id)}
        clients.append(httpx.Client(base_url=mlflow_server.url, headers=headers))
    owner, other = clients
    experiment = owner.post(f"{API}/experiments/create", json={"name": "m"}).json()["experiment_id"]
    run = owner.post(f"{API}/runs/create", json={"experiment_id": experiment}).json()["run"]["info"]
    owner.post(f"{API}/runs/log-metric", json={"run_id": run["run_id"], "key": "a", "value": 1, "timestamp": 1})
    path = run["artifact_uri"].removeprefix("mlflow-artifacts:/").strip("/")
    owner.put(f"{FILES}/{path}/model/MLmodel", content=b"mine").raise_for_status()
    source = {"name": "m", "source": f"{run['artifact_uri']}/model", "run_id": run["run_id"]}
    owner.post(f"{API}/model-versions/create", json=source).raise_for_status()
    logged = owner.post(f"{API}/logged-models", json={"experiment_id": experiment, "name": "l"}).json()["model"]["info"]
    yield Owned(
        experiment,
        run["run_id"],
        run["artifact_uri"],
        path,
        workspace_of(ids[0]),
        logged["model_id"],
        other=other,
        owner=owner,
    )
    for client in clients:
        client.close()
    http.close()


Attempts = dict[str, tuple[str, str, dict[str, Any]]]


def attempts(own: Owned) -> Attempts:
    """What B tries on A's things: method, path, request."""
    return on_runs(own) | on_files(own) | on_versions(own) | on_logged_models(own)


def on_runs(own: Owned) -> Attempts:
    run, experiment, logged = own.run, own.experiment, own.logged_model
    tags, outputs = [{"key": "t", "value": "b"}], [{"model_id": logged, "step": 0}]
    metric = {"run_id": run, "key": "a", "timestamp": 2}
    return {
        "get run": ("GET", f"{API}/runs/get", {"params": {"run_id": run}}),
        "get experiment": ("GET", f"{API}/experiments/get", {"params": {"experiment_id": experiment}}),
        "metric history": ("GET", f"{API}/metrics/get-history", {"params": {"run_id": run, "metric_key": "a"}}),
        "history by interval": (
            "GET",
            f"{AJAX}/metrics/get-history-bulk-interval",
            {"params": {"run_ids": run, "metric_key": "a"}},
        ),
        "log metric": (
            "POST",
            f"{API}/runs/log-metric",
            {"json": {**metric, "value": 2}},
        ),
        "log param": ("POST", f"{API}/runs/log-parameter", {"json": {"run_id": run, "key": "p", "value": "1"}}),
        "log batch": ("POST", f"{API}/runs/log-batch", {"json": {"run_id": run, "tags": tags}}),
        "set tag": ("POST", f"{API}/runs/set-tag", {"json": {"run_id": run, "key": "t", "value": "b"}}),
        "log outputs": (
            "POST",
            f"{API}/runs/outputs",
            {"json": {"run_id": run, "models": outputs}},
        ),
        "update run": ("POST", f"{API}/runs/update", {"json": {"run_id": run, "status": "FAILED"}}),
        "delete run": ("POST", f"{API}/runs/delete", {"json": {"run_id": run}}),
        "create run": ("POST", f"{API}/runs/create", {"json": {"experiment_id": experiment}}),
    }


def on_files(own: Owned) -> Attempts:
    run = own.run
    return {
        "list artifacts": ("GET", f"{API}/artifacts/list", {"params": {"run_id": run}}),
        "get artifact": ("GET", "/get-artifact", {"params": {"run_id": run, "path": "model/MLmodel"}}),
        "download": ("GET", f"{FILES}/{own.path}/model/MLmodel", {}),
        "download by dots": ("GET", f"{FILES}/%2e%2e/{own.path.removeprefix('workspaces/')}/model/MLmodel", {}),
        "download by escapes": ("GET", f"{FILES}/x%252f..%252f..%252f{own.path}/model/MLmodel", {}),
        "overwrite": ("PUT", f"{FILES}/{own.path}/model/MLmodel", {"content": b"evil"}),
        "delete artifact": ("DELETE", f"{FILES}/{own.path}/model/MLmodel", {}),
        "list by path": ("GET", FILES, {"params": {"path": f"workspaces/{own.workspace}"}}),
        "list by dots": ("GET", FILES, {"params": {"path": f"../{own.workspace}"}}),
    }


def on_versions(own: Owned) -> Attempts:
    run, logged, source = own.run, own.logged_model, f"{own.uri}/model"
    return {
        "get version": ("GET", f"{API}/model-versions/get", {"params": {"name": "m", "version": "1"}}),
        "download uri": ("GET", f"{API}/model-versions/get-download-uri", {"params": {"name": "m", "version": "1"}}),
        "version's artifact": (
            "GET",
            "/model-versions/get-artifact",
            {"params": {"name": "m", "version": "1", "path": "MLmodel"}},
        ),
        "tag version": (
            "POST",
            f"{API}/model-versions/set-tag",
            {"json": {"name": "m", "version": "1", "key": "t", "value": "b"}},
        ),
        "version from run": (
            "POST",
            f"{API}/model-versions/create",
            {"json": {"name": "m", "source": source, "run_id": run}},
        ),
        "version from path": (
            "POST",
            f"{API}/model-versions/create",
            {"json": {"name": "m", "source": source}},
        ),
        "version from logged model": (
            "POST",
            f"{API}/model-versions/create",
            {"json": {"name": "m", "source": f"models:/{logged}", "model_id": logged}},
        ),
    }


def on_logged_models(own: Owned) -> Attempts:
    experiment, logged, tags = own.experiment, own.logged_model, [{"key": "t", "value": "b"}]
    return {
        "get logged model": ("GET", f"{API}/logged-models/{logged}", {}),
        "its files": ("GET", f"{API}/logged-models/{logged}/artifacts/directories", {}),
        "tag logged model": (
            "PATCH",
            f"{API}/logged-models/{logged}/tags",
            {"json": {"tags": tags}},
        ),
        "finish logged model": ("PATCH", f"{API}/logged-models/{logged}", {"json": {"model_id": logged, "status": 2}}),
        "log model": ("POST", f"{API}/logged-models", {"json": {"experiment_id": experiment, "name": "x"}}),
        "experiment at our path": (
            "POST",
            f"{API}/experiments/create",
            {"json": {"name": "x", "artifact_location": f"mlflow-artifacts:/{own.path}"}},
        ),
        "experiment on disk": (
            "POST",
            f"{API}/experiments/create",
            {"json": {"name": "y", "artifact_location": "file:///etc"}},
        ),
    }


def test_no_attempt_gets_through(owned: Owned) -> None:
    through = {}
    for name, (method, path, request) in attempts(owned).items():
        answer = owned.other.request(method, path, **request)
        if answer.status_code < 400:
            through[name] = answer.text
    assert through == {}


def test_searches_find_only_ones_own(owned: Owned) -> None:
    mine, search = {"experiment_ids": [owned.experiment]}, f"{API}/model-versions/search"
    assert owned.other.post(f"{API}/runs/search", json=mine).json() == {}
    assert owned.other.post(f"{API}/logged-models/search", json=mine).json() == {}
    assert owned.other.get(search).json() == {}
    bulk = {"run_id": owned.run, "metric_key": "a"}
    assert owned.other.get(f"{AJAX}/metrics/get-history-bulk", params=bulk).json() == {"metrics": []}
    assert len(owned.owner.get(search).json()["model_versions"]) == 1


def test_the_owners_things_are_as_they_were(owned: Owned) -> None:
    assert owned.owner.get(f"{FILES}/{owned.path}/model/MLmodel").content == b"mine"
    run = owned.owner.get(f"{API}/runs/get", params={"run_id": owned.run}).json()["run"]
    assert run["info"]["status"] == "RUNNING"
    assert [(metric["key"], metric["value"]) for metric in run["data"]["metrics"]] == [("a", 1)]
