"""Gates: keep a policy, and judge a version by one without changing anything."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from sqlalchemy.orm import Session

from carrara.access.policy import Permission
from carrara.api.call import Call, allowed
from carrara.contracts.gates import GateReport, PolicyView, PutPolicy
from carrara.contracts.wire import Page
from carrara.evaluation import service, store

router = APIRouter(prefix="/projects/{project}", tags=["gates"])

Reader = Annotated[Call, Depends(allowed(Permission.READ))]
PolicyWriter = Annotated[Call, Depends(allowed(Permission.SET_POLICY))]


@router.get("/models/{model}/versions/{number}/gates")
def explain_gates(
    call: Reader,
    model: str,
    number: int,
    endpoint: Annotated[str | None, Query(description="by its policy, against what is live there")] = None,
) -> GateReport:
    """Every rule judged, with its evidence and what would make it pass. A dry run: it changes nothing."""
    services = call.services
    return call.read(
        lambda session: service.explain(
            session,
            call.project.id,
            model,
            number,
            endpoint=endpoint,
            endpoints=services.evaluation.endpoints,
            now=services.clock.now(),
        )
    )


@router.post("/policies", status_code=201)
def put_policy(call: PolicyWriter, body: PutPolicy) -> PolicyView:
    """Keep a gate policy. The same rules again are the same policy; give its digest to an endpoint."""
    return call.write(201, lambda session: service.put_policy(session, call.project.id, call.actor, body.document))


@router.get("/policies")
def list_policies(
    call: Reader, limit: Annotated[int, Query(ge=1, le=500)] = 100, after: UUID | None = None
) -> Page[PolicyView]:
    """The project's gate policies, newest first."""

    def action(session: Session) -> Page[PolicyView]:
        found = store.policies(session, call.project.id, after=after, limit=limit)
        return Page(items=found, next=str(found[-1].id) if len(found) == limit else None)

    return call.read(action)


@router.get("/policies/{digest}")
def get_policy(call: Reader, digest: str) -> PolicyView:
    """One policy, by its digest."""
    return call.read(lambda session: store.policy(session, call.project.id, digest))
