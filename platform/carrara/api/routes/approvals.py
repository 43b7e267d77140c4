"""Approvals: a second person's word for a release at an endpoint."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from carrara.access.policy import Permission
from carrara.api.call import Call, allowed
from carrara.contracts import deployments as wire
from carrara.contracts.wire import Page
from carrara.deployments import approving
from carrara.kernel.ids import ApprovalId

router = APIRouter(prefix="/projects/{project}/endpoints/{endpoint}/approvals", tags=["approvals"])

Reader = Annotated[Call, Depends(allowed(Permission.READ))]
Approver = Annotated[Call, Depends(allowed(Permission.APPROVE))]
Revoker = Annotated[Call, Depends(allowed(Permission.REVOKE_APPROVAL))]


@router.post("", status_code=201)
def decide(call: Approver, endpoint: str, body: wire.DecideApproval) -> wire.ApprovalView:
    """Approves or rejects a release here, on its newest evaluation and the policy in force. Not by its author."""
    neighbours = call.services.neighbours
    return call.write(
        201,
        lambda session: approving.decide(session, call.project, call.actor, endpoint, body, neighbours=neighbours),
    )


@router.get("")
def list_approvals(
    call: Reader,
    endpoint: str,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    after: UUID | None = None,
) -> Page[wire.ApprovalView]:
    """Decisions at this endpoint, newest first, revoked ones too."""
    before = ApprovalId(after) if after else None
    return call.read(
        lambda session: approving.list_approvals(session, call.project, endpoint, after=before, limit=limit)
    )


@router.post("/{approval_id}/revoke")
def revoke(call: Revoker, endpoint: str, approval_id: UUID, body: wire.RevokeApproval) -> wire.ApprovalView:
    """Takes an approval back. What is live by it goes back at once."""
    return call.write(
        200,
        lambda session: approving.revoke(
            session, call.project, call.actor, endpoint, ApprovalId(approval_id), body.reason
        ),
    )
