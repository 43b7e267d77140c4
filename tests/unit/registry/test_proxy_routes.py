"""What the MLflow proxy lets through, as tables."""

from typing import Any

import pytest

from carrara.kernel.errors import CarraraError, Forbidden, Invalid, Unauthenticated
from carrara.kernel.ids import UserId, uuid7
from carrara.mlflow_proxy.bodies import checked_body
from carrara.mlflow_proxy.identity import secret_of
from carrara.mlflow_proxy.routes import Kind, Route, route_of

API = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts/artifacts"
AUTHOR = UserId(uuid7())


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", f"{API}/experiments/get-by-name", Kind.READ),
        ("POST", f"{API}/runs/log-batch", Kind.TRACK),
        ("PATCH", f"{API}/logged-models/m-1a2b", Kind.TRACK),
        ("GET", f"{FILES}/workspaces/p-1/1/a b#?ä.txt", Kind.READ),
        ("PUT", f"{FILES}/x/model.skops", Kind.TRACK),
        ("POST", f"{API}/model-versions/create", Kind.REGISTER),
        ("GET", f"{API}/registered-models/alias", Kind.READ),
    ],
)
def test_the_stock_clients_calls_pass(method: str, path: str, kind: Kind) -> None:
    route = route_of(method, path)
    assert route is not None
    assert route.kind is kind


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"{API}/registered-models/alias"),
        ("DELETE", f"{API}/registered-models/alias"),
        ("POST", f"{API}/model-versions/transition-stage"),
        ("DELETE", f"{API}/model-versions/delete"),
        ("DELETE", f"{API}/registered-models/delete"),
        ("POST", f"{API}/registered-models/rename"),
        ("POST", f"{API}/runs/delete"),
        ("POST", f"{API}/experiments/delete"),
        ("DELETE", f"{API}/logged-models/m-1"),
        ("DELETE", f"{FILES}/x/model.skops"),
        ("POST", "/graphql"),
        ("GET", "/api/3.0/mlflow/workspaces"),
        ("POST", "/api/3.0/mlflow/workspaces"),
        ("POST", "/api/2.0/mlflow/webhooks"),
        ("POST", "/gateway/x/mlflow/invocations"),
        ("GET", "/ajax-api/2.0/mlflow/runs/get"),
        ("GET", "/get-artifact"),
        ("HEAD", f"{API}/runs/get"),
        ("GET", f"{FILES}/../../x"),
        ("GET", f"{FILES}/x/%2e%2e/y"),
        ("GET", f"{FILES}//x"),
        ("GET", f"{FILES}/x\\y"),
        ("GET", f"{FILES}/x\x00y"),
        ("GET", f"{API}/runs/get/"),
        ("GET", f"{API}/runs/get\n"),
    ],
)
def test_everything_else_is_refused(method: str, path: str) -> None:
    assert route_of(method, path) is None


def test_a_new_version_tells_who_registered_it() -> None:
    route = route_of("POST", f"{API}/model-versions/create")
    assert route is not None
    body = checked_body(route, {"name": "late", "source": "s", "tags": [{"key": "a", "value": "b"}]}, AUTHOR)
    assert body["tags"] == [{"key": "a", "value": "b"}, {"key": "carrara.author", "value": str(AUTHOR)}]


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("runs/log-batch", {"tags": [{"key": "carrara.job", "value": "x"}]}, Forbidden),
        ("runs/set-tag", {"key": "CARRARA.author", "value": "x"}, Forbidden),
        ("runs/create", {"tags": {"key": "carrara.job"}}, Invalid),
        ("runs/create", {"tags": [{"key": ["carrara.job"]}]}, Invalid),
        ("runs/create", ["x"], Invalid),
        ("runs/create", "{}", Invalid),
        ("model-versions/create", {"name": "late", "tags": [{"key": "carrara.job", "value": "x"}]}, Forbidden),
        ("model-versions/create", {"name": "../../x"}, Invalid),
        ("model-versions/create", {"name": "Late"}, Invalid),
        ("model-versions/create", {}, Invalid),
        ("registered-models/create", {"name": "a" * 300}, Invalid),
        ("registered-models/create", {"name": "=cmd()"}, Invalid),
        ("registered-models/create", {"name": "p", "tags": [{"key": "mlflow.prompt.is_prompt"}]}, Invalid),
        ("registered-models/set-tag", {"name": "late", "key": "carrara.x", "value": "y"}, Forbidden),
    ],
)
def test_fault_f48_bodies_that_say_too_much_are_refused(path: str, body: Any, error: type[CarraraError]) -> None:
    route = route_of("POST", f"{API}/{path}")
    assert isinstance(route, Route)
    with pytest.raises(error):
        checked_body(route, body, AUTHOR)


@pytest.mark.parametrize(
    ("header", "secret"),
    [
        ("Bearer t0ken", "t0ken"),
        ("bearer  t0ken ", "t0ken"),
        ("Basic dXNlcjp0MGtlbg==", "t0ken"),
        ("Basic dDBrZW46", "t0ken"),
        (None, None),
        ("Bearer ", None),
        ("Basic !!!", None),
        ("Basic Og==", None),
        ("Digest x", None),
    ],
)
def test_a_token_comes_as_bearer_or_as_the_password(header: str | None, secret: str | None) -> None:
    if secret is None:
        with pytest.raises(Unauthenticated):
            secret_of(header)
    else:
        assert secret_of(header) == secret
