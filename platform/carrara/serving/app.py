"""The serving port: predictions, what an endpoint is, and whether this process is well. Raw ASGI, no framework."""

import logging
import re
from dataclasses import dataclass, field
from typing import Any

from carrara.contracts.problem import Problem
from carrara.contracts.routes import RouteTable
from carrara.inference.body import unpack
from carrara.inference.data_plane import DataPlane, JsonRequest
from carrara.inference.failures import ModelUnavailable
from carrara.inference.routing import Address, EndpointRouting
from carrara.kernel.errors import CarraraError, Invalid, NotFound, TooLarge, Unavailable
from carrara.kernel.ids import uuid7
from carrara.kernel.names import SLUG_PATTERN
from carrara.serving import metrics
from carrara.serving.follower import Follower
from carrara.serving.http import ClientLeft, Headers, Receive, Scope, Send, headers_of, read_body, send_bytes, send_json
from carrara.serving.problems import MEDIA_TYPE, internal_error, problem_of
from carrara.serving.problems import headers_of as problem_headers
from carrara.serving.tokens import TokenTable, token_table

log = logging.getLogger(__name__)

_SLUG = SLUG_PATTERN.strip("^$")
_ENDPOINT_PATH = re.compile(rf"/endpoints/({_SLUG})/({_SLUG})(/predict)?")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,100}")
_CLOSE = (b"connection", b"close")


@dataclass(frozen=True)
class AppLimits:
    """`max_stale_auth_seconds`: how long tokens are believed while the platform cannot confirm them."""

    max_body_bytes: int
    max_stale_auth_seconds: float


@dataclass
class ServingApp:
    """An ASGI application. `in_flight` counts prediction requests that are being read or answered."""

    plane: DataPlane
    limits: AppLimits
    index: int
    follower: Follower | None = None
    tokens: TokenTable = field(default_factory=TokenTable)
    is_draining: bool = False
    in_flight: int = 0

    def take(self, table: RouteTable) -> None:
        """The tokens of a new table hold from now on."""
        self.tokens = token_table(table)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError("serving speaks HTTP only")
        headers = headers_of(scope)
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else str(uuid7())
        try:
            await self._answer(scope, headers, receive, send)
        except CarraraError as error:
            extra = problem_headers(error)
            if isinstance(error, TooLarge) or self.is_draining:
                extra.append(_CLOSE)  # the rest of a body that we did not read must not be taken for a request
            await _send_problem(send, problem_of(error, request_id), extra)
        except ClientLeft:
            return
        except Exception:
            log.exception("request %s failed", request_id)
            await _send_problem(send, internal_error(request_id), [])

    async def _answer(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if match := _ENDPOINT_PATH.fullmatch(path):
            address = (match[1], match[2])
            wanted = "POST" if match[3] else "GET"
            if method != wanted:
                raise Invalid(f"{method} {path}: expected {wanted}", code="method_not_allowed")
            self._check_token(headers, address)
            if match[3]:
                await self._predict(address, headers, receive, send)
            else:
                await send_json(send, 200, self._describe(address))
        elif path == "/healthz":
            await send_json(send, 200, {"status": "ok"})
        elif path == "/readyz":
            state = self._readiness()
            await send_json(send, 200 if state["ready"] else 503, state)
        elif path == "/metrics":
            await send_bytes(
                send, 200, metrics.render(self.index, self.plane.stats, self._gauges()), metrics.MEDIA_TYPE
            )
        else:
            raise NotFound("such address", hint="predictions are at /endpoints/{project}/{endpoint}/predict")

    def _check_token(self, headers: Headers, address: Address) -> None:
        follower = self.follower
        if follower is None or follower.slots.table is None:
            raise ModelUnavailable("this process has no route table yet", code="not_ready")
        self.tokens.check(headers.get(b"authorization"), address)
        if follower.stale_seconds > self.limits.max_stale_auth_seconds:
            raise Unavailable(
                f"the platform last confirmed who may predict {follower.stale_seconds:.0f} s ago;"
                f" at most {self.limits.max_stale_auth_seconds:g} s are accepted",
                code="auth_stale",
                retry_after_seconds=10,
            )

    async def _predict(self, address: Address, headers: Headers, receive: Receive, send: Send) -> None:
        if self.is_draining:
            raise ModelUnavailable("this process is shutting down; try again", code="draining", retry_after_seconds=1)
        media_type = headers.get(b"content-type", b"application/json").split(b";")[0].strip().lower()
        if media_type != b"application/json":
            shown = media_type[:80].decode("latin-1")
            raise Invalid(f"content type {shown!r}; expected application/json", code="unsupported_media_type")
        self.in_flight += 1
        try:
            body = await read_body(headers, receive, self.limits.max_body_bytes)
            encoding = headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()
            plain = unpack(body, encoding, self.limits.max_body_bytes)
            prediction = await self.plane.predict(address, JsonRequest(plain))
            await send_json(send, 200, prediction.to_json())
        finally:
            self.in_flight -= 1

    def _describe(self, address: Address) -> dict[str, Any]:
        routing = self.plane.routing.get(address)
        if routing is None:
            raise NotFound("endpoint", project=address[0], endpoint=address[1])
        contract = routing.live[0].manifest.contract if routing.live else None
        example = contract.example if contract is not None else None
        return {
            "project": address[0],
            "endpoint": address[1],
            "status": _status_of(routing),
            "live": [
                {
                    "release": release.digest,
                    "model": release.manifest.model,
                    "version": release.manifest.version,
                    "weight": weight,
                }
                for release, weight in zip(routing.live, routing.weights, strict=True)
            ],
            "contract": contract.model_dump(mode="json") if contract is not None else None,
            "example": {"instances": [example]} if example is not None else None,
            "generation": self._generation(),
            "stale_seconds": self._stale_seconds(),
        }

    def _readiness(self) -> dict[str, Any]:
        generation = self._generation()
        waiting = {
            "/".join(address): routing.waiting_for
            for address, routing in self.plane.routing.items()
            if routing.waiting_for
        }
        return {
            "ready": generation is not None and not waiting and not self.is_draining,
            "draining": self.is_draining,
            "generation": generation,
            "stale_seconds": self._stale_seconds(),
            "trouble": self.follower.trouble if self.follower is not None else "",
            "waiting_for": waiting,
        }

    def _generation(self) -> int | None:
        table = self.follower.slots.table if self.follower is not None else None
        return table.generation if table is not None else None

    def _stale_seconds(self) -> float | None:
        if self.follower is None or self.follower.confirmed_at is None:
            return None
        return round(self.follower.stale_seconds, 1)

    def _gauges(self) -> dict[str, tuple[str, float]]:
        generation, stale = self._generation(), self._stale_seconds()
        return {
            "carrara_serving_generation": ("Generation of the route table.", -1 if generation is None else generation),
            "carrara_serving_stale_seconds": (
                "Seconds since the platform confirmed the route table.",
                -1 if stale is None else stale,
            ),
            "carrara_serving_draining": ("Whether this process is shutting down.", float(self.is_draining)),
        }


def _status_of(routing: EndpointRouting) -> str:
    if routing.live:
        return "fell_back" if routing.gave_up else "live"
    return "not_ready" if routing.waiting_for else "fallback"


async def _send_problem(send: Send, problem: Problem, headers: list[tuple[bytes, bytes]]) -> None:
    body = problem.model_dump_json().encode()
    await send_bytes(send, problem.status, body, MEDIA_TYPE, headers)
