"""`/mlflow/{project}/...`: the stock MLflow client's way in. Who calls is checked here, then bytes pass through."""

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from carrara.jobs.ports import Submit
from carrara.kernel.errors import CarraraError, Invalid, TooLarge, Unavailable
from carrara.mlflow_proxy.answers import as_mlflow, not_allowed
from carrara.mlflow_proxy.bodies import checked_body
from carrara.mlflow_proxy.identity import Caller, identify, secret_of
from carrara.mlflow_proxy.routes import Body, Kind, Route, route_of
from carrara.persistence.database import Database, Scope
from carrara.registry.adoption import adopt_version
from carrara.registry.mlflow_http import SECRET_HEADER, WORKSPACE_HEADER
from carrara.registry.mlflow_rest import workspace_of
from carrara.registry.ports import ModelTracking

MAX_JSON_BYTES = 8 << 20
_PASSED_ON = ("accept", "content-type", "user-agent")
_PASSED_BACK = frozenset(
    ("content-type", "content-length", "content-encoding", "content-disposition", "etag", "last-modified")
)
_TIMEOUT = httpx.Timeout(300.0, connect=5.0, pool=10.0)
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30.0)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upstream:
    """Where MLflow is, and the secret that it asks for."""

    url: str | None
    secret: str | None


class MlflowProxy:
    """An ASGI endpoint per project. Holds no body in memory but small JSON ones."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        database: Database,
        tracking: ModelTracking,
        submit: Submit,
        max_upload_bytes: int,
    ) -> None:
        self._upstream = upstream
        self._database = database
        self._tracking = tracking
        self._submit = submit
        self._max_upload_bytes = max_upload_bytes
        self._client = httpx.AsyncClient(
            base_url=upstream.url or "", timeout=_TIMEOUT, limits=_LIMITS, trust_env=False, follow_redirects=False
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def answer(self, request: Request, project: str, path: str) -> Response:
        """MLflow's answer to this request, or an error in MLflow's own form."""
        route = route_of(request.method, f"/{path}")
        try:
            secret = secret_of(request.headers.get("authorization"))
            kind = route.kind if route else Kind.READ
            caller = await run_in_threadpool(identify, self._database, secret, project, kind)
            if route is None:
                return not_allowed(request.method, f"/{path}")
            await run_in_threadpool(self._tracking.of, caller.project.id)  # a project's workspace is made at first use
            return await self._pass_on(request, route, caller, path)
        except CarraraError as error:
            return as_mlflow(error)
        except ClientDisconnect:
            return Response(status_code=400)

    async def _pass_on(self, request: Request, route: Route, caller: Caller, path: str) -> Response:
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        headers |= {WORKSPACE_HEADER: workspace_of(caller.project.id), "accept-encoding": "identity"}
        if self._upstream.secret is not None:
            headers[SECRET_HEADER] = self._upstream.secret
        content: bytes | AsyncIterator[bytes] | None = None
        query = request.url.query
        match route.body:
            case Body.JSON:
                body = checked_body(route, await _json_body(request), caller.user_id)
                content = json.dumps(body).encode()
                headers["content-type"] = "application/json"
                query = ""  # what was checked is all that MLflow gets
            case Body.STREAM:
                content = self._limited(request)
        sent = await self._send(request.method, f"/{quote(path, safe='/')}", query, headers, content)
        if route.creates_version:
            return await self._after_version(sent, caller)
        passed = {name: value for name, value in sent.headers.items() if name in _PASSED_BACK}
        passed["x-content-type-options"] = "nosniff"
        return StreamingResponse(_blocks(sent), sent.status_code, passed)

    async def _send(
        self,
        method: str,
        path: str,
        query: str,
        headers: dict[str, str],
        content: bytes | AsyncIterator[bytes] | None,
    ) -> httpx.Response:
        base = self._client.base_url
        target = f"{base.raw_path.decode().rstrip('/')}{path}" + (f"?{query}" if query else "")
        url = base.copy_with(raw_path=target.encode())
        try:
            request = self._client.build_request(method, url, headers=headers, content=content)
            return await self._client.send(request, stream=True)
        except httpx.UnsupportedProtocol as error:
            raise Unavailable("CARRARA_MLFLOW_URL is not set, so there is no MLflow behind this address") from error
        except httpx.TransportError as error:
            raise Unavailable(f"MLflow did not answer: {type(error).__name__}", retry_after_seconds=2) from error

    async def _after_version(self, sent: httpx.Response, caller: Caller) -> Response:
        """MLflow has committed the version: it is adopted now, or by the sweep if that fails."""
        try:
            answer = await sent.aread()
        except httpx.TransportError as error:
            raise Unavailable("MLflow broke off its answer; the version may be there: look before you retry") from error
        finally:
            await sent.aclose()
        if sent.is_success:
            try:
                made = json.loads(answer)["model_version"]
                await run_in_threadpool(self._adopt, caller, str(made["name"]), int(made["version"]))
            except (CarraraError, ValueError, KeyError, TypeError) as error:
                _log.warning("a version was registered in MLflow and waits for the sweep: %s", error)
        return Response(answer, sent.status_code, media_type=sent.headers.get("content-type"))

    def _adopt(self, caller: Caller, model: str, number: int) -> None:
        tracked = self._tracking.of(caller.project.id).get_version(model, number)
        with self._database.transaction(Scope(caller.project.id, caller.user_id)) as session:
            adopt_version(session, caller.project.id, tracked, caller.user_id, submit=self._submit)

    async def _limited(self, request: Request) -> AsyncIterator[bytes]:
        size = 0
        async for block in request.stream():
            size += len(block)
            if size > self._max_upload_bytes:
                raise TooLarge(f"the file is over the limit of {self._max_upload_bytes} bytes")
            yield block


async def _json_body(request: Request) -> Any:
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Invalid("send the body without content-encoding")
    read = bytearray()
    async for block in request.stream():
        read += block
        if len(read) > MAX_JSON_BYTES:
            raise TooLarge(f"the body is over {MAX_JSON_BYTES} bytes")
    try:
        return json.loads(bytes(read) or b"{}")
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the body is not JSON: {error}") from error


async def _blocks(sent: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for block in sent.aiter_raw():
            yield block
    finally:
        await sent.aclose()
