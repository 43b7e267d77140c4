"""Around every request: an id, a log line, counters for Prometheus, and no NUL in what addresses it."""

import logging
import re
import time
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from carrara.api.errors import answer_to
from carrara.contracts.wire import BAD_VALUE
from carrara.kernel.errors import Invalid, Issue
from carrara.kernel.ids import uuid7
from carrara.kernel.telemetry import log_context

REQUESTS = Counter("carrara_api_requests_total", "Answered requests.", ["method", "route", "status"])
SECONDS = Histogram("carrara_api_request_seconds", "Time to the last byte of the answer.", ["method", "route"])
_CLIENT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_log = logging.getLogger("carrara.api")


class RequestLog:
    """Takes `X-Request-Id` from the client if it is sane, makes one if not, and gives it back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _CLIENT_ID.match(given) else str(uuid7())
        scope["carrara.request_id"] = request_id
        status = 500
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", [])
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        with log_context(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                self._note(scope, status, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        REQUESTS.labels(scope["method"], route, str(status)).inc()
        SECONDS.labels(scope["method"], route).observe(seconds)
        level = logging.DEBUG if route in {"/healthz", "/readyz", "/metrics"} else logging.INFO
        _log.log(level, "%s %s %d %.1f ms", scope["method"], scope["path"], status, seconds * 1000)


class NoNul:
    """Refuses with `bad_value` a request with a NUL in its path, its query or a header: no text in PostgreSQL can
    hold one. Bodies are checked as they are parsed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        places = list(_places_of_nul(scope)) if scope["type"] == "http" else []
        if not places:
            await self._app(scope, receive, send)
            return
        message = "a NUL character; no text may hold one"
        issues = [Issue(place, message, code=BAD_VALUE) for place in places]
        error = Invalid(f"{places[0]}: {message}", code=BAD_VALUE, issues=issues)
        await answer_to(error, scope.get("carrara.request_id"))(scope, receive, send)


def _places_of_nul(scope: Scope) -> Iterator[str]:
    if "\0" in scope["path"]:
        yield "path"
    if b"%00" in scope["query_string"] or b"\0" in scope["query_string"]:
        for pair in scope["query_string"].split(b"&"):
            name, _, value = pair.partition(b"=")
            if b"\0" in unquote_to_bytes(name) + unquote_to_bytes(value):
                yield f"query.{ascii(unquote_to_bytes(name).decode('latin-1'))[1:-1]}"
    for header, given in scope["headers"]:
        if b"\0" in given:
            yield f"header.{header.decode('latin-1')}"
