"""MLflow behind its secret, and the watch over its private names."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from carrara.embedded.mlflow_app import SecretRequired
from carrara.embedded.mlflow_server import SCHEMA_FUNCTIONS, MlflowServer, check_names
from carrara.kernel.errors import Unavailable

NAMES = {
    "BACKEND_STORE_URI_ENV_VAR": "_MLFLOW_SERVER_FILE_STORE",
    "REGISTRY_STORE_URI_ENV_VAR": "_MLFLOW_SERVER_REGISTRY_STORE",
    "ARTIFACT_ROOT_ENV_VAR": "_MLFLOW_SERVER_ARTIFACT_ROOT",
    "ARTIFACTS_DESTINATION_ENV_VAR": "_MLFLOW_SERVER_ARTIFACT_DESTINATION",
    "SERVE_ARTIFACTS_ENV_VAR": "_MLFLOW_SERVER_SERVE_ARTIFACTS",
}
SCHEMA = SimpleNamespace(**dict.fromkeys(SCHEMA_FUNCTIONS))


def test_names_that_mlflow_has_kept_pass() -> None:
    check_names(NAMES, SCHEMA)


def test_a_renamed_variable_or_function_is_named_with_the_way_out() -> None:
    with pytest.raises(Unavailable, match=r"ARTIFACT_ROOT_ENV_VAR, _upgrade_db.*CARRARA_MLFLOW_URL"):
        fewer = SimpleNamespace(**{name: None for name in SCHEMA_FUNCTIONS if name != "_upgrade_db"})
        check_names({**NAMES, "ARTIFACT_ROOT_ENV_VAR": "_MLFLOW_ROOT"}, fewer)


@pytest.mark.parametrize(
    ("artifacts", "destination"), [("/data/objects/mlflow", "file:///data/objects/mlflow"), ("s3://b/p/mlflow", None)]
)
def test_artifacts_go_to_a_directory_or_to_s3(artifacts: str, destination: str | None) -> None:
    made = MlflowServer("postgresql://x", artifacts, s3_endpoint_url="http://s3").environment()
    assert made["_MLFLOW_SERVER_ARTIFACT_DESTINATION"] == (destination or artifacts)
    assert made["MLFLOW_S3_ENDPOINT_URL"] == "http://s3"
    assert made["MLFLOW_DISABLE_TELEMETRY"] == "true"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 401),
        ([(b"x-carrara-mlflow-secret", b"wrong")], 401),
        ([(b"x-carrara-mlflow-secret", b"s"), (b"x-carrara-mlflow-secret", b"s")], 401),
        ([(b"x-carrara-mlflow-secret", b"s")], 200),
    ],
)
def test_only_the_secret_opens_and_goes_no_further(headers: list[tuple[bytes, bytes]], status: int) -> None:
    seen: list[Any] = []
    sent: list[dict[str, Any]] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"type": "http", "path": "/health", "headers": headers}
    asyncio.run(SecretRequired(inner, "s")(scope, receive, send))
    assert sent[0]["status"] == status
    assert seen == ([[]] if status == 200 else [])
