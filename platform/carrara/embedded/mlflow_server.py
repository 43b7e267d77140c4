"""How MLflow 3.17 is told what to do when it runs as one process. The only module that knows its private names.

`mlflow server` would take 28 s and ten processes for what one uvicorn process does in 7 s. The price is that these
names are not promised: `check_names` compares them with the installed MLflow at every start.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from carrara.kernel.errors import Unavailable

SECRET_HEADER = "x-carrara-mlflow-secret"  # noqa: S105  # the name of the header, not what it holds

_PRIVATE_NAMES = {
    "BACKEND_STORE_URI_ENV_VAR": "_MLFLOW_SERVER_FILE_STORE",
    "REGISTRY_STORE_URI_ENV_VAR": "_MLFLOW_SERVER_REGISTRY_STORE",
    "ARTIFACT_ROOT_ENV_VAR": "_MLFLOW_SERVER_ARTIFACT_ROOT",
    "ARTIFACTS_DESTINATION_ENV_VAR": "_MLFLOW_SERVER_ARTIFACT_DESTINATION",
    "SERVE_ARTIFACTS_ENV_VAR": "_MLFLOW_SERVER_SERVE_ARTIFACTS",
}
SCHEMA_FUNCTIONS = ("_get_schema_version", "_get_latest_schema_revision", "_initialize_tables", "_upgrade_db")


@dataclass(frozen=True)
class MlflowServer:
    """What one MLflow server needs. `artifacts` is an absolute directory or s3://bucket/prefix."""

    database_url: str
    artifacts: str
    s3_endpoint_url: str | None = None
    workspaces: bool = True

    def environment(self) -> dict[str, str]:
        """The variables to set before `mlflow` is imported."""
        destination = self.artifacts if urlsplit(self.artifacts).scheme else f"file://{self.artifacts}"
        chosen = {
            "_MLFLOW_SERVER_FILE_STORE": self.database_url,
            "_MLFLOW_SERVER_REGISTRY_STORE": self.database_url,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": destination,
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes that we have no use for
            "MLFLOW_ENABLE_WORKSPACES": str(self.workspaces).lower(),
            "MLFLOW_SERVER_ALLOWED_HOSTS": "*",  # or `http://mlflow:5000` gets 403; our secret shuts browsers out
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
        }
        if self.s3_endpoint_url:
            chosen |= {"MLFLOW_S3_ENDPOINT_URL": self.s3_endpoint_url, "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE": "path"}
        return chosen


def check_names(constants: Mapping[str, object], schema_functions: object) -> None:
    """Compares what we rely on with the installed MLflow: `vars(mlflow.server.constants)`, `mlflow.store.db.utils`."""
    renamed = [name for name, value in _PRIVATE_NAMES.items() if constants.get(name) != value]
    renamed += [name for name in SCHEMA_FUNCTIONS if not hasattr(schema_functions, name)]
    if renamed:
        raise Unavailable(
            f"the installed MLflow has changed private names that we rely on: {', '.join(renamed)}. Install the version"
            " of requirements.lock, or run `mlflow server` yourself and set CARRARA_MLFLOW_URL"
        )
