"""Makes the secrets of compose.yaml: `python3 deploy/make_secrets.py deploy/secrets-compose`. Standard library only.

Makes what is missing and leaves what is there. To change the password of a database, change it in PostgreSQL too:
roles.sh runs only on an empty volume.
"""

import os
import secrets
import sys
from pathlib import Path

_FOR_POSTGRES = "postgres.env"
_FOR_VALKEY = "valkey.conf"
_MODE = {_FOR_VALKEY: 0o644}  # valkey is another user in its container; the folder above is closed


def secret_texts() -> dict[str, str]:
    """File name to text: all passwords random, each the same wherever it is said."""
    admin, carrara, mlflow, valkey = (secrets.token_hex(24) for _ in range(4))
    roles = {"POSTGRES_PASSWORD": admin, "CARRARA_ROLE_PASSWORD": carrara, "MLFLOW_ROLE_PASSWORD": mlflow}
    single = {
        "CARRARA_DATABASE_URL": f"postgresql+psycopg://carrara:{carrara}@postgres:5432/carrara",
        "CARRARA_MLFLOW_DATABASE_URL": f"postgresql+psycopg://mlflow:{mlflow}@postgres:5432/mlflow",
        "CARRARA_MLFLOW_SECRET": secrets.token_hex(32),
        "CARRARA_REDIS_URL": f"redis://:{valkey}@valkey:6379/0",
        "CARRARA_SERVING_SECRET": secrets.token_hex(32),
    }
    server = {"requirepass": valkey, "appendonly": "yes", "maxmemory-policy": "noeviction", "dir": "/data"}
    return {
        _FOR_POSTGRES: "".join(f"{name}={value}\n" for name, value in roles.items()),
        _FOR_VALKEY: "".join(f"{name} {value}\n" for name, value in server.items()),
    } | {f"{name}.env": f"{name}={value}\n" for name, value in single.items()}


def make_secrets(folder: Path) -> list[str]:
    """Writes all files, or none if some are there already; the names of those written. FileExistsError for a part."""
    texts = secret_texts()
    present = [name for name in texts if (folder / name).exists()]
    if len(present) == len(texts):
        return []
    if present:
        missing = ", ".join(sorted(set(texts) - set(present)))
        raise FileExistsError(
            f"{folder} has {', '.join(present)} but not {missing}; their passwords belong together: restore the missing"
            " files, or remove the folder and the volumes of the databases"
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name, text in texts.items():
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, _MODE.get(name, 0o600))
            file.write(text)
    return sorted(texts)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("usage: python3 deploy/make_secrets.py FOLDER\n")
        return 2
    try:
        made = make_secrets(Path(arguments[0]))
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"made {', '.join(made)}\n" if made else "all secrets are there already\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
