"""MLflow as one process on loopback: brings its own database to its schema, then answers whoever knows the secret.

Run as `python -m carrara.embedded.mlflow_app` with CARRARA_MLFLOW_PORT, CARRARA_MLFLOW_SECRET,
CARRARA_MLFLOW_DATABASE_URL, CARRARA_MLFLOW_ARTIFACTS and, if wanted, CARRARA_MLFLOW_HOST, CARRARA_S3_ENDPOINT_URL and
CARRARA_MLFLOW_WORKSPACES.
"""

import hmac
import importlib
import logging
import os
import sys
import time
from typing import Any

import psycopg
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from carrara.embedded.mlflow_server import SECRET_HEADER, MlflowServer, check_names
from carrara.kernel.config import Settings
from carrara.kernel.errors import CarraraError, Unavailable
from carrara.kernel.telemetry import configure_logging

_log = logging.getLogger(__name__)
_HEADER = SECRET_HEADER.encode()
_DATABASE_WAIT_SECONDS = 60.0


class SecretRequired:
    """ASGI: lets a request through only if it carries the shared secret, `/health` too. Anyone else gets 401."""

    def __init__(self, app: ASGIApp, secret: str) -> None:
        self._app = app
        self._secret = secret.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        shown = [value for name, value in scope["headers"] if name == _HEADER]
        if len(shown) == 1 and hmac.compare_digest(shown[0], self._secret):
            inner = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != _HEADER]}
            await self._app(inner, receive, send)
        elif scope["type"] == "http":
            headers = [(b"content-type", b"application/json")]
            body = b'{"error_code":"UNAUTHENTICATED","message":"this server answers only the Carrara platform"}'
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        else:
            await send({"type": "websocket.close", "code": 1008})


def load_app(server: MlflowServer) -> ASGIApp:
    """Imports MLflow (7 s), waits for its database and creates or upgrades the tables in it."""
    os.environ.update(server.environment())
    app: ASGIApp = importlib.import_module("mlflow.server.fastapi_app").app
    schema = importlib.import_module("mlflow.store.db.utils")
    check_names(vars(importlib.import_module("mlflow.server.constants")), schema)
    _wait_for_database(server.database_url)
    _bring_up_to_date(schema, server.database_url)
    importlib.import_module("mlflow.server.handlers").initialize_backend_stores(
        server.database_url, server.database_url, "mlflow-artifacts:/"
    )
    return app


def _wait_for_database(url: str) -> None:
    deadline = time.monotonic() + _DATABASE_WAIT_SECONDS
    while True:
        try:
            psycopg.connect(url.replace("+psycopg", "", 1), connect_timeout=5).close()
            return
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                raise Unavailable(f"the database of MLflow did not answer: {error}") from error
            time.sleep(0.2)


def _bring_up_to_date(schema: Any, url: str) -> None:
    """Cheap when there is nothing to do. A kill in between is mended by the next start: the upgrade is one transaction,
    and the tables before it are created only where they are missing."""
    engine = schema.create_sqlalchemy_engine_with_retry(url)
    try:
        found, wanted = schema._get_schema_version(engine), schema._get_latest_schema_revision()
        if found == wanted:
            return
        _log.info("bringing the schema of MLflow from %s to %s", found or "nothing", wanted)
        if found is None:
            schema._initialize_tables(engine)
        else:
            schema._upgrade_db(engine)
    finally:
        engine.dispose()


def main() -> None:
    settings = Settings()
    configure_logging("mlflow", settings.log_level)
    try:
        server = MlflowServer(
            database_url=settings.required("mlflow_database_url"),
            artifacts=settings.required("mlflow_artifacts"),
            s3_endpoint_url=settings.s3_endpoint_url,
            workspaces=settings.mlflow_workspaces,
        )
        secret, host = settings.required("mlflow_secret"), settings.host("mlflow")
        port = int(settings.required("mlflow_port"))
    except ValueError as error:  # it names the variable
        sys.exit(str(error))
    try:
        app = SecretRequired(load_app(server), secret)
    except CarraraError as error:
        sys.exit(error.message)
    uvicorn.run(app, host=host, port=port, access_log=False, log_config=None)


if __name__ == "__main__":
    main()
