"""Is the process alive, can it do its work, and its counters. Open to anyone: they hold nothing secret."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis import Redis, RedisError
from sqlalchemy import text

from carrara.api.call import services_of
from carrara.bootstrap.platform import Services
from carrara.kernel.errors import CarraraError, Unavailable
from carrara.persistence.database import Scope
from carrara.persistence.migrations import current_and_head

router = APIRouter(tags=["health"], include_in_schema=True)
ServicesDep = Annotated[Services, Depends(services_of)]
_KEPT_SECONDS = 5.0
_WAIT_SECONDS = 1.0


@dataclass
class _Kept:
    """The last answer about what is costly to ask, for five seconds: anyone may ask, as often as they like."""

    at: float = float("-inf")
    checks: dict[str, str] = field(default_factory=dict)
    degraded: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


@router.get("/healthz", response_class=PlainTextResponse)
async def alive() -> str:
    """200 while the process answers at all."""
    return "ok\n"


@router.get("/readyz")
def ready(request: Request, services: ServicesDep) -> JSONResponse:
    """200 when writes would succeed; 503 and the reason of each part that would not. `degraded` tells of parts whose
    absence slows work down or holds it up, and refuses none."""
    state: Any = request.app.state
    if not hasattr(state, "readiness"):
        state.readiness = _Kept()
    kept: _Kept = state.readiness
    with kept.lock:
        now = services.clock.monotonic()
        if now - kept.at >= _KEPT_SECONDS:
            kept.checks, kept.degraded = _checks(services), _degraded(services)
            kept.at = services.clock.monotonic()
        body = {"checks": kept.checks, "degraded": kept.degraded}
        is_ready = set(kept.checks.values()) == {"ok"}
    return JSONResponse(body, status_code=200 if is_ready else 503)


@router.get("/metrics")
def metrics() -> Response:
    """Counters in the Prometheus text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _checks(services: Services) -> dict[str, str]:
    def database() -> None:
        with services.database.transaction(Scope()) as session:
            session.execute(text("SELECT 1"))

    def schema() -> None:
        current, head = current_and_head(services.settings.required("database_url"))
        if current != head:
            raise Unavailable(f"the database is at {current}, this release needs {head}; run `carrara migrate`")

    checks = {"database": _outcome(database), "object_store": _outcome(services.store.check)}
    is_there = checks["database"] == "ok"
    return {**checks, "schema": _outcome(schema) if is_there else "cannot be known without the database"}


def _degraded(services: Services) -> dict[str, str]:
    """What is configured, away, and can be done without for a while."""
    settings = services.settings

    def redis() -> None:
        if settings.redis_url is not None:
            url = settings.redis_url.get_secret_value()
            with Redis.from_url(url, socket_timeout=_WAIT_SECONDS, socket_connect_timeout=_WAIT_SECONDS) as client:
                client.ping()

    def mlflow() -> None:
        if settings.mlflow_url:
            httpx.get(f"{settings.mlflow_url}/health", timeout=_WAIT_SECONDS, trust_env=False).raise_for_status()

    found = {"redis": _outcome(redis), "mlflow": _outcome(mlflow)}
    return {name: outcome for name, outcome in found.items() if outcome != "ok"}


def _outcome(check: Callable[[], object]) -> str:
    try:
        check()
    except CarraraError as error:
        return error.message
    except (RedisError, httpx.HTTPError) as error:
        return f"does not answer ({type(error).__name__})"
    return "ok"
