"""The settings that all processes share, and one file a secret, so that each process is given only its own."""

from carrara.kernel.config import Settings
from carrara.processes import PROCESSES, SECRETS

NOTICE = (
    "# Rendered from platform/carrara/processes.py and kernel/config.py by `make docs`; copy it, do not edit it here."
)
_CHOSEN = {
    "CARRARA_MLFLOW_ARTIFACTS": "/var/lib/carrara/objects/mlflow",
    "CARRARA_MLFLOW_PORT": "5000",
    "CARRARA_MLFLOW_URL": "http://127.0.0.1:5000",
    "CARRARA_OBJECT_STORE": "/var/lib/carrara/objects",
}
_NOT_SHARED = {"data_dir", "heartbeat_file", "postgres_port", "valkey_port"}
_SHAPES = {
    "AWS_ACCESS_KEY_ID": "",
    "AWS_SECRET_ACCESS_KEY": "",
    "AWS_SESSION_TOKEN": "",
    "CARRARA_DATABASE_URL": "postgresql+psycopg://carrara:PASSWORD@HOST:5432/carrara",
    "CARRARA_MLFLOW_DATABASE_URL": "postgresql+psycopg://mlflow:PASSWORD@HOST:5432/mlflow",
    "CARRARA_MLFLOW_SECRET": "",
    "CARRARA_REDIS_URL": "redis://:PASSWORD@HOST:6379/0",
    "CARRARA_SERVING_SECRET": "",
}


def settings_file() -> str:
    """`carrara.env`: every setting that is no secret, with its default; what has no good default is chosen."""
    lines = [NOTICE, "# Secrets do not belong here but into a file each, see secrets/."]
    for name, field in Settings.model_fields.items():
        variable = f"CARRARA_{name.upper()}"
        if variable in SECRETS or name in _NOT_SHARED:
            continue
        lines += ["", f"# {field.description}"]
        if variable in _CHOSEN:
            lines.append(f"{variable}={_CHOSEN[variable]}")
        else:
            lines.append(f"#{variable}={'' if field.default is None else field.default}")
    return "\n".join(lines) + "\n"


def secret_files() -> dict[str, str]:
    """`secrets/<variable>.env` for every secret: who reads it, and the line to complete."""
    return {f"secrets/{variable}.env": _secret_file(variable) for variable in sorted(SECRETS)}


def _secret_file(variable: str) -> str:
    readers = ", ".join(spec.name for spec in PROCESSES if variable in spec.sees)
    return f"{NOTICE}\n# Read by: {readers}. Owner root, mode 0600.\n#{variable}={_SHAPES[variable]}\n"
