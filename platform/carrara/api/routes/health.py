"""Is the process alive, can it do its work, and its counters. Open to anyone: they hold nothing secret."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text

from carrara.api.call import services_of
from carrara.bootstrap.platform import Services
from carrara.kernel.errors import CarraraError
from carrara.persistence.database import Scope

router = APIRouter(tags=["health"], include_in_schema=True)
ServicesDep = Annotated[Services, Depends(services_of)]


@router.get("/healthz", response_class=PlainTextResponse)
async def alive() -> str:
    """200 while the process answers at all."""
    return "ok\n"


@router.get("/readyz")
def ready(services: ServicesDep) -> JSONResponse:
    """200 when writes would succeed; 503 and the reason of each part that would not."""

    def database() -> None:
        with services.database.transaction(Scope()) as session:
            session.execute(text("SELECT 1"))

    checks = {"database": _outcome(database), "object_store": _outcome(services.store.check)}
    return JSONResponse({"checks": checks}, status_code=200 if set(checks.values()) == {"ok"} else 503)


@router.get("/metrics")
def metrics() -> Response:
    """Counters in the Prometheus text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _outcome(check: Callable[[], None]) -> str:
    try:
        check()
    except CarraraError as error:
        return error.message
    return "ok"
