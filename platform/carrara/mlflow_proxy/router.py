"""The proxy as a part of the platform's application."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from carrara.bootstrap.platform import Services
from carrara.mlflow_proxy.proxy import MlflowProxy, Upstream

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def make_proxy(services: Services) -> MlflowProxy:
    """The proxy over this composition; whoever makes it closes it."""
    settings = services.settings
    secret = settings.mlflow_secret.get_secret_value() if settings.mlflow_secret else None
    return MlflowProxy(
        Upstream(settings.mlflow_url, secret),
        database=services.database,
        tracking=services.registry.tracking,
        submit=services.jobs.submit,
        max_upload_bytes=settings.max_upload_bytes,
    )


def make_router(proxy: MlflowProxy) -> APIRouter:
    """Everything below `/mlflow/{project}/`."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/mlflow/{project}/{path:path}", methods=_METHODS)
    async def pass_through(request: Request, project: str, path: str) -> Response:
        return await proxy.answer(request, project, path)

    return router
