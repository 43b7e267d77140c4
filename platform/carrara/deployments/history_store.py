"""SQL of what is only ever added to: approvals and the ledger."""

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from carrara.deployments.domain import Approval, Decision, Endpoint, LedgerEntry, LedgerKind, Move, RolloutState
from carrara.deployments.tables import ApprovalRow, LedgerRow, RolloutRow
from carrara.kernel.errors import Forbidden, NotFound
from carrara.kernel.ids import ApprovalId, EndpointId, EvaluationId, ProjectId, ReleaseId, RolloutId, UserId, uuid7
from carrara.persistence.database import savepoint
from carrara.registry.tables import ReleaseRow, VersionRow

_FOUR_EYES = "CA001"
_GONE = frozenset({"rejected", "retired"})


def approvals_of(session: Session, endpoint: Endpoint) -> list[Approval]:
    """Every decision at an endpoint, revoked ones too, oldest first."""
    return approvals_by_endpoint(session, endpoint.project_id, [endpoint.id])[endpoint.id]


def approvals_by_endpoint(
    session: Session, project_id: ProjectId, ids: Collection[EndpointId]
) -> dict[EndpointId, list[Approval]]:
    """The same for many endpoints at once."""
    found: dict[EndpointId, list[Approval]] = {endpoint_id: [] for endpoint_id in ids}
    rows = session.scalars(
        select(ApprovalRow)
        .where(ApprovalRow.project_id == project_id, ApprovalRow.endpoint_id.in_(ids))
        .order_by(ApprovalRow.created_at, ApprovalRow.id)
    )
    for row in rows:
        found[EndpointId(row.endpoint_id)].append(_approval(row))
    return found


def find_approval(session: Session, endpoint: Endpoint, approval_id: ApprovalId) -> Approval:
    row = session.get(ApprovalRow, approval_id, populate_existing=True)
    if row is None or row.endpoint_id != endpoint.id:
        raise NotFound("approval", id=str(approval_id), endpoint=endpoint.name)
    return _approval(row)


def add_approval(session: Session, endpoint: Endpoint, approval: Approval, *, title: str) -> Approval:
    """Inserts the decision. `Forbidden` if the database finds that the approver is the author (design D5)."""
    row = ApprovalRow(
        id=approval.id,
        project_id=endpoint.project_id,
        release_id=approval.release_id,
        endpoint_id=endpoint.id,
        evaluation_id=approval.evaluation_id,
        evaluation_digest=approval.evaluation_digest,
        policy_digest=approval.policy_digest,
        decision=approval.decision.value,
        comment=approval.comment,
        approver_id=approval.approver_id,
        is_self_approval=approval.is_self_approval,
    )
    try:
        with savepoint(session):
            session.add(row)
            session.flush()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _FOUR_EYES:
            raise
        message = f"you are the author of {title}; ask another member with the role approver to approve it"
        raise Forbidden(message, code="four_eyes") from error
    session.refresh(row)
    return _approval(row)


def revoke_approval(session: Session, approval: Approval, by: UserId, reason: str) -> Approval:
    row = session.get_one(ApprovalRow, approval.id)
    row.revoked_at = func.clock_timestamp()
    row.revoked_by = by
    row.revocation_reason = reason
    session.flush()
    session.refresh(row)
    return _approval(row)


def ledger_of(session: Session, endpoint: Endpoint) -> list[LedgerEntry]:
    """The whole history of an endpoint, in order."""
    return ledgers_by_endpoint(session, endpoint.project_id, [endpoint.id])[endpoint.id]


def ledgers_by_endpoint(
    session: Session, project_id: ProjectId, ids: Collection[EndpointId]
) -> dict[EndpointId, list[LedgerEntry]]:
    """The same for many endpoints at once."""
    found: dict[EndpointId, list[LedgerEntry]] = {endpoint_id: [] for endpoint_id in ids}
    same_rollout = (RolloutRow.project_id == LedgerRow.project_id) & (RolloutRow.id == LedgerRow.rollout_id)
    same_release = (ReleaseRow.project_id == LedgerRow.project_id) & (ReleaseRow.id == LedgerRow.release_id)
    its_version = (VersionRow.project_id == ReleaseRow.project_id) & (VersionRow.id == ReleaseRow.version_id)
    rows = session.execute(
        select(LedgerRow, RolloutRow.state, VersionRow.state)
        .outerjoin(RolloutRow, same_rollout)
        .outerjoin(ReleaseRow, same_release)
        .outerjoin(VersionRow, its_version)
        .where(LedgerRow.project_id == project_id, LedgerRow.endpoint_id.in_(ids))
        .order_by(LedgerRow.endpoint_id, LedgerRow.sequence)
    )
    for row, rollout_state, version_state in rows:
        found[EndpointId(row.endpoint_id)].append(_entry(row, rollout_state, version_state))
    return found


def append_to_ledger(
    session: Session, endpoint: Endpoint, move: Move, *, before: LedgerEntry | None, generation: int
) -> datetime:
    """Adds what is live from now on and gives that moment, never before the last entry's.

    The caller holds the endpoint's row lock.
    """
    row = LedgerRow(
        id=uuid7(),
        project_id=endpoint.project_id,
        endpoint_id=endpoint.id,
        sequence=before.sequence + 1 if before else 1,
        kind=move.kind.value,
        release_id=move.release_id,
        previous_release_id=before.release_id if before else None,
        rollout_id=move.rollout_id,
        generation=generation,
        actor_id=move.by.id,
        reason=move.reason,
        evidence=dict(move.evidence),
        at=func.greatest(func.clock_timestamp(), before.at) if before else func.clock_timestamp(),
    )
    session.add(row)
    session.flush()
    session.refresh(row, ["at"])
    return row.at


def _entry(row: LedgerRow, rollout_state: str | None, version_state: str | None) -> LedgerEntry:
    kind = LedgerKind(row.kind)
    is_held = row.release_id is None or bool(row.evidence.get("held_by_all"))
    return LedgerEntry(
        sequence=row.sequence,
        kind=kind,
        release_id=_maybe(ReleaseId, row.release_id),
        previous_release_id=_maybe(ReleaseId, row.previous_release_id),
        rollout_id=_maybe(RolloutId, row.rollout_id),
        generation=row.generation,
        actor_id=_maybe(UserId, row.actor_id),
        reason=row.reason,
        at=row.at,
        is_confirmed=is_held if kind is LedgerKind.ROLLBACK else rollout_state == RolloutState.CONFIRMED,
        is_gone=version_state in _GONE,
    )


def _approval(row: ApprovalRow) -> Approval:
    return Approval(
        id=ApprovalId(row.id),
        release_id=ReleaseId(row.release_id),
        endpoint_id=EndpointId(row.endpoint_id),
        evaluation_id=_maybe(EvaluationId, row.evaluation_id),
        evaluation_digest=row.evaluation_digest,
        policy_digest=row.policy_digest,
        decision=Decision(row.decision),
        comment=row.comment,
        approver_id=UserId(row.approver_id),
        is_self_approval=row.is_self_approval,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        revoked_by=_maybe(UserId, row.revoked_by),
        revocation_reason=row.revocation_reason,
    )


def _maybe(kind: Any, value: UUID | None) -> Any:
    return None if value is None else kind(value)
