"""The platform's HTTP application: the API under /api/v1, health, metrics."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI

from carrara.api.errors import install_error_handlers
from carrara.api.middleware import NoNul, RequestLog
from carrara.api.routes import (
    access,
    approvals,
    audit,
    datasets,
    endpoints,
    evaluations,
    gates,
    health,
    internal_serving,
    jobs,
    models,
)
from carrara.bootstrap.platform import Services
from carrara.contracts.problem import Problem
from carrara.mlflow_proxy.router import make_proxy, make_router

DESCRIPTION = """
Train, evaluate, register, approve, promote, serve, watch and roll back models.

Every write takes an `Idempotency-Key`: the same key and request give the first answer again, with
`Idempotency-Replayed: true`. Listings take `limit` and `after`, and answer `next`. Every error is
`application/problem+json`, with a stable `code` and each fault of the input under `issues`.
"""
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        401: "no valid token",
        403: "the token's owner has no role that allows this",
        404: "not there, or not yours to see",
        409: "the world is not as the request assumes, or a rule refuses it",
        422: "a fault in the request, named under `issues`",
        503: "something that we depend on is away; `Retry-After` says when to try again",
    }.items()
}
FEATURE_ROUTERS: tuple[APIRouter, ...] = (
    access.router,
    datasets.router,
    jobs.router,
    models.router,
    evaluations.router,
    gates.router,
    endpoints.router,
    approvals.router,
    audit.router,
)


def create_app(services: Services) -> FastAPI:
    """The application over this composition."""

    proxy = make_proxy(services)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await proxy.close()
        services.close()

    app = FastAPI(
        title="Carrara", version="1", description=DESCRIPTION, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.services = services
    install_error_handlers(app)
    for router in FEATURE_ROUTERS:
        app.include_router(router, prefix="/api/v1", responses=ERRORS)
    app.include_router(internal_serving.router)
    app.include_router(health.router)
    app.include_router(make_router(proxy))
    app.add_middleware(NoNul)
    app.add_middleware(RequestLog)
    return app
