"""Endpoints: what answers at an address, what is on its way there, and the way back."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from sqlalchemy.orm import Session

from carrara.access.domain import MemberRole
from carrara.access.policy import Permission
from carrara.api.call import Call, allowed
from carrara.contracts import deployments as wire
from carrara.contracts.wire import Page
from carrara.deployments import promoting, rolling_back, service
from carrara.kernel.ids import RolloutId

router = APIRouter(prefix="/projects/{project}/endpoints", tags=["endpoints"])

Reader = Annotated[Call, Depends(allowed(Permission.READ))]
FallbackSetter = Annotated[Call, Depends(allowed(Permission.SET_FALLBACK))]
Manager = Annotated[Call, Depends(allowed(Permission.MANAGE_ENDPOINT))]
PolicySetter = Annotated[Call, Depends(allowed(Permission.SET_POLICY))]
Promoter = Annotated[Call, Depends(allowed(Permission.PROMOTE))]
RollsBack = Annotated[Call, Depends(allowed(Permission.ROLL_BACK))]
Limit = Annotated[int, Query(ge=1, le=500)]


@router.post("", status_code=201)
def create_endpoint(call: Manager, body: wire.CreateEndpoint) -> wire.EndpointView:
    """Makes a stable address with nothing behind it yet."""
    return call.write(201, lambda session: service.create_endpoint(session, call.project, call.actor, body))


@router.get("")
def list_endpoints(call: Reader, limit: Limit = 100, after: str | None = None) -> Page[wire.EndpointView]:
    """The project's endpoints by name, each with its status from evidence."""
    return call.read(lambda session: service.list_endpoints(session, call.project, after=after, limit=limit))


@router.get("/{endpoint}")
def get_endpoint(call: Reader, endpoint: str) -> wire.EndpointView:
    """One endpoint: what should answer, what is proven to, and what a rollback would do."""
    return call.read(lambda session: service.get_endpoint(session, call.project, endpoint))


@router.put("/{endpoint}/policy")
def set_policy(call: PolicySetter, endpoint: str, body: wire.SetPolicy) -> wire.EndpointView:
    """Judges the next promotions by another gate policy. What is live stays."""
    return call.write(200, lambda session: service.set_policy(session, call.project, call.actor, endpoint, body))


@router.put("/{endpoint}/fallback")
def set_fallback(call: FallbackSetter, endpoint: str, body: wire.SetFallback) -> wire.EndpointView:
    """Declares what answers when no release is live. Once one was, another constant is an approver's to declare."""
    is_approver = MemberRole.APPROVER in call.roles
    return call.write(
        200,
        lambda session: service.set_fallback(
            session, call.project, call.actor, endpoint, body, is_approver=is_approver
        ),
    )


@router.post("/{endpoint}/promotions", status_code=202)
def promote(call: Promoter, endpoint: str, body: wire.Promote) -> wire.PromotionView:
    """Starts a rollout; poll it until `finished_at`. `dry_run` explains every condition and starts nothing."""
    neighbours = call.services.neighbours
    return call.write(
        200 if body.dry_run else 202,
        lambda session: promoting.promote(session, call.project, call.actor, endpoint, body, neighbours=neighbours),
    )


@router.get("/{endpoint}/rollouts")
def list_rollouts(call: Reader, endpoint: str, limit: Limit = 100, after: UUID | None = None) -> Page[wire.RolloutView]:
    """Promotions of this endpoint, newest first."""
    before = RolloutId(after) if after else None
    return call.read(lambda session: service.list_rollouts(session, call.project, endpoint, after=before, limit=limit))


@router.get("/{endpoint}/rollouts/{rollout_id}")
def get_rollout(call: Reader, endpoint: str, rollout_id: UUID) -> wire.RolloutView:
    """One promotion: where it is, what it waits for, its evidence."""
    return call.read(lambda session: service.get_rollout(session, call.project, endpoint, RolloutId(rollout_id)))


@router.post("/{endpoint}/rollouts/{rollout_id}/abort")
def abort_rollout(call: Promoter, endpoint: str, rollout_id: UUID, body: wire.AbortRollout) -> wire.RolloutView:
    """Stops a promotion before its switch."""
    return call.write(
        200,
        lambda session: promoting.abort_rollout(
            session, call.project, call.actor, endpoint, RolloutId(rollout_id), body
        ),
    )


@router.post("/{endpoint}/rollback")
def roll_back(call: RollsBack, endpoint: str, body: wire.RollBack) -> wire.RollbackView:
    """Leaves what is live, now. Committed when the answer leaves; serving follows within a second."""
    return call.write(200, lambda session: rolling_back.roll_back(session, call.project, call.actor, endpoint, body))


@router.get("/{endpoint}/history")
def history(
    call: Reader,
    endpoint: str,
    limit: Limit = 100,
    after: Annotated[int | None, Query(description="the last sequence seen")] = None,
    at: Annotated[datetime | None, Query(description="only what was live then; without a zone, UTC")] = None,
) -> Page[wire.HistoryEntry]:
    """What was live when, by whom and why, newest first."""
    moment = at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at

    def action(session: Session) -> Page[wire.HistoryEntry]:
        found = [
            entry
            for entry in service.history(session, call.project, endpoint, moment)
            if after is None or entry.sequence < after
        ]
        return Page(items=found[:limit], next=str(found[limit - 1].sequence) if len(found) > limit else None)

    return call.read(action)
