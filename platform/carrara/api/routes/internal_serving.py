"""What serving processes ask of the platform: the route table, and a lease on being believed."""

import hmac
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from carrara.api.call import Credentials, services_of
from carrara.bootstrap.platform import Services
from carrara.contracts.routes import InstanceReport
from carrara.deployments import instance_store
from carrara.kernel.errors import Unauthenticated
from carrara.persistence.database import EVERYTHING

MAX_WAIT_SECONDS = 30.0
router = APIRouter(prefix="/internal/v1", tags=["serving"], include_in_schema=False)


async def from_serving(request: Request, credentials: Credentials) -> Services:
    """The composition, for a caller that shows the serving secret; `Unauthenticated` for any other."""
    services = services_of(request)
    secret = services.settings.serving_secret
    shown = credentials.credentials if credentials else ""
    if secret is None or not hmac.compare_digest(shown.encode(), secret.get_secret_value().encode()):
        raise Unauthenticated("only serving may ask this: it shows CARRARA_SERVING_SECRET, the same on both sides")
    return services


FromServing = Annotated[Services, Depends(from_serving)]


@router.get("/routes")
async def routes(
    services: FromServing,
    after: Annotated[int, Query(description="the generation that the caller has; -1 for none")] = -1,
    wait: Annotated[float, Query(ge=0, le=MAX_WAIT_SECONDS, description="seconds")] = 20.0,
) -> Response:
    """The route table, as soon as it is newer than `after`; 304 if it is not within `wait` seconds."""
    feed = services.route_feed
    if await run_in_threadpool(feed.generation) <= after and not await feed.changed(after, wait):
        return Response(status_code=304, headers={"ETag": f'"{after}"'})
    table = await run_in_threadpool(feed.table)
    return Response(table.body, media_type="application/json", headers={"ETag": f'"{table.generation}"'})


@router.post("/instances")
def report(services: FromServing, body: InstanceReport) -> dict[str, int]:
    """Keeps the report and renews the lease; tells the generation, for a process that missed a wake."""
    seconds = services.settings.instance_lease_seconds
    with services.database.transaction(EVERYTHING) as session:
        return {"generation": instance_store.renew_lease(session, body, lease_seconds=seconds)}


@router.delete("/instances/{boot_id}", status_code=204)
def leave(services: FromServing, boot_id: UUID) -> None:
    """A process that ends in good order takes its lease back: it is gone, not missing."""
    with services.database.transaction(EVERYTHING) as session:
        instance_store.end_lease(session, boot_id)
