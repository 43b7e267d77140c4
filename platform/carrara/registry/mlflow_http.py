"""Calls to MLflow's REST with time-outs and the shared secret. Losing it raises `Unavailable`, never httpx's errors."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from carrara.kernel.errors import CarraraError, Conflict, Invalid, NotFound, TooLarge, Unavailable

SECRET_HEADER = "x-carrara-mlflow-secret"  # noqa: S105  # the name of the header, not what it holds
WORKSPACE_HEADER = "x-mlflow-workspace"
API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"

_TIMEOUT = httpx.Timeout(30.0, connect=5.0, pool=5.0)
_BLOCK_BYTES = 1 << 20


class MlflowHttp:
    """One pool of connections. Safe to share between threads. Without a `url` every call is `Unavailable`."""

    def __init__(self, url: str | None, secret: str | None, *, transport: httpx.BaseTransport | None = None) -> None:
        headers = {SECRET_HEADER: secret} if secret else {}
        self._client = httpx.Client(
            base_url=url or "", headers=headers, timeout=_TIMEOUT, transport=transport, trust_env=False
        )

    def get(self, workspace: str | None, path: str, /, **query: Any) -> dict[str, Any]:
        """The JSON answer of a GET; a query value of None is left out."""
        params = {name: value for name, value in query.items() if value is not None}
        return self._json("GET", path, headers=_of(workspace), params=params)

    def post(self, workspace: str | None, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._json("POST", path, headers=_of(workspace), json=body)

    def delete(self, workspace: str | None, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._json("DELETE", path, headers=_of(workspace), json=body)

    def put_file(self, workspace: str, path: str, file: Path) -> None:
        """Streams a file from disk."""
        with file.open("rb") as stream, _as_ours(f"uploading {file.name}"):
            response = self._client.put(
                path, headers=_of(workspace), content=iter(lambda: stream.read(_BLOCK_BYTES), b"")
            )
        _check(response, f"uploading {file.name}")

    def get_file(self, workspace: str, path: str, target: Path, *, max_bytes: int) -> int:
        """Streams a file to disk and gives its size; `TooLarge` leaves no more than `max_bytes` there."""
        size = 0
        with (
            _as_ours(f"downloading {target.name}"),
            self._client.stream("GET", path, headers=_of(workspace)) as response,
        ):
            if response.is_error:
                response.read()
                _check(response, f"downloading {target.name}")
            with target.open("xb") as out:
                for block in response.iter_bytes(_BLOCK_BYTES):
                    size += len(block)
                    if size > max_bytes:
                        raise TooLarge(f"{target.name} is over the limit of {max_bytes} bytes", limit=max_bytes)
                    out.write(block)
        return size

    def close(self) -> None:
        self._client.close()

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        what = f"{method} {path}"
        with _as_ours(what):
            response = self._client.request(method, path, **request)
        _check(response, what)
        try:
            answer = response.json()
        except ValueError as error:
            raise Unavailable(f"MLflow answered {what} with something that is not JSON") from error
        return answer if isinstance(answer, dict) else {"value": answer}


def error_code(error: CarraraError) -> str:
    """MLflow's own code of a refusal (`RESOURCE_ALREADY_EXISTS`), or an empty text."""
    return str(error.facts.get("mlflow_code", ""))


def _of(workspace: str | None) -> dict[str, str]:
    return {WORKSPACE_HEADER: workspace} if workspace else {}


@contextmanager
def _as_ours(what: str) -> Iterator[None]:
    try:
        yield
    except httpx.UnsupportedProtocol as error:
        raise Unavailable("CARRARA_MLFLOW_URL is not set, or is no http:// or https:// address") from error
    except httpx.TransportError as error:
        raise Unavailable(f"MLflow did not answer ({what}): {type(error).__name__} {error}".rstrip()) from error


def _check(response: httpx.Response, what: str) -> None:
    if response.is_success:
        return
    code, message = _problem(response)
    if response.status_code == 401:
        raise Unavailable("MLflow refuses our secret; CARRARA_MLFLOW_SECRET is not the one it was started with")
    if code == "RESOURCE_ALREADY_EXISTS":
        raise Conflict(f"MLflow: {message}", mlflow_code=code)
    if code == "RESOURCE_DOES_NOT_EXIST" or response.status_code == 404:
        raise NotFound("thing in MLflow", hint=message, mlflow_code=code)
    if response.status_code >= 500 or response.status_code in (408, 429):
        raise Unavailable(f"MLflow failed at {what} with {response.status_code}: {message}", mlflow_code=code)
    raise Invalid(f"MLflow refused {what} with {response.status_code}: {message}", mlflow_code=code)


def _problem(response: httpx.Response) -> tuple[str, str]:
    try:
        body = response.json()
        return str(body["error_code"]), str(body.get("message", ""))[:500]
    except (ValueError, KeyError, TypeError):
        return "", response.text[:500]
