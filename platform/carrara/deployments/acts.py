"""The durable acts that move an endpoint. Each runs in the caller's transaction, under the endpoint's row lock."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from carrara.audit.service import record
from carrara.deployments import history_store, store
from carrara.deployments.domain import (
    CARRARA,
    ROLLOUT_STATES,
    By,
    Endpoint,
    LedgerKind,
    Move,
    Release,
    Rollout,
    RolloutState,
)
from carrara.deployments.ledger import derive
from carrara.kernel.crashpoint import crashpoint
from carrara.kernel.ids import ApprovalId, RolloutId, UserId, uuid7
from carrara.persistence.database import after_commit


@dataclass(frozen=True)
class Moved:
    """An endpoint after its release changed: the route table that says so, and since when."""

    endpoint: Endpoint
    generation: int
    at: datetime


def start_rollout(
    session: Session,
    endpoint: Endpoint,
    release: Release,
    *,
    approval_id: ApprovalId,
    strategy: str,
    by: By,
    wait_seconds: float,
    why: str,
) -> Rollout:
    """Opens a rollout: serving is told to load the candidate beside what is live."""
    now = store.database_now(session)
    rollout = store.add_rollout(
        session,
        Rollout(
            id=RolloutId(uuid7()),
            endpoint_id=endpoint.id,
            release_id=release.id,
            previous_release_id=endpoint.desired,
            approval_id=approval_id,
            strategy=strategy,
            state=RolloutState.PREPARING,
            reason="serving loads the candidate",
            evidence={"asked_for": why},
            generation=None,
            started_by=UserId(by.id) if by.id else endpoint.created_by,
            started_at=now,
            deadline_at=now + timedelta(seconds=wait_seconds),
            finished_at=None,
        ),
        endpoint.project_id,
    )
    store.change_endpoint(session, endpoint, candidate_release_id=release.id)
    _note(session, "rollout.started", endpoint, rollout, by, release=release.digest, strategy=strategy)
    store.wake_reconciler(session, rollout.id)
    after_commit(session, lambda: crashpoint("promote.rollout_started"))
    return store.change_rollout(session, rollout, generation=store.bump_generation(session))


def move_on(session: Session, endpoint: Endpoint, rollout: Rollout, *, reason: str, evidence: dict[str, Any]) -> None:
    """The candidate is ready; now the way back is tested."""
    state = ROLLOUT_STATES.check(rollout.state, RolloutState.REHEARSING)
    store.change_rollout(session, rollout, evidence=evidence, state=state.value, reason=reason)
    _note(session, "rollout.rehearsing", endpoint, rollout, CARRARA)
    after_commit(session, lambda: crashpoint("rollout.rehearsing"))


def switch(
    session: Session, endpoint: Endpoint, rollout: Rollout, *, evidence: dict[str, Any], by: By, why: str
) -> Moved:
    """Gives the endpoint's requests to the candidate: desired, ledger and route table in one transaction."""
    state = ROLLOUT_STATES.check(rollout.state, RolloutState.SWITCHING)
    move = Move(LedgerKind.PROMOTION, rollout.release_id, rollout.id, by, why)
    moved = _place(session, endpoint, move, candidate=rollout.release_id)
    waited = rollout.deadline_at - rollout.started_at
    store.change_rollout(
        session,
        rollout,
        evidence=evidence,
        state=state.value,
        reason="serving switches",
        generation=moved.generation,
        deadline_at=moved.at + waited,
    )
    _note(session, "rollout.switched", endpoint, rollout, by, generation=moved.generation)
    after_commit(session, lambda: crashpoint("rollout.switched"))
    return moved


def confirm(session: Session, endpoint: Endpoint, rollout: Rollout, *, reason: str, evidence: dict[str, Any]) -> None:
    """Serving proved the switch: the release is current, and what it replaced is the way back."""
    state = ROLLOUT_STATES.check(rollout.state, RolloutState.CONFIRMED)
    finished_at = store.database_now(session)
    store.change_rollout(session, rollout, evidence=evidence, state=state.value, reason=reason, finished_at=finished_at)
    pointers = derive(history_store.ledger_of(session, endpoint), history_store.approvals_of(session, endpoint))
    store.change_endpoint(
        session,
        endpoint,
        candidate_release_id=None,
        current_release_id=pointers.current,
        rollback_target_id=pointers.rollback_target,
    )
    _note(session, "rollout.confirmed", endpoint, rollout, CARRARA)
    after_commit(session, lambda: crashpoint("rollout.confirmed"))


def end_rollout(
    session: Session, endpoint: Endpoint, rollout: Rollout, *, state: RolloutState, by: By, reason: str
) -> Endpoint:
    """Ends a rollout without its release being live, so that serving may let the candidate go. The caller tells it
    (`bump_generation`), last."""
    ended = ROLLOUT_STATES.check(rollout.state, state)
    finished_at = store.database_now(session)
    store.change_rollout(session, rollout, state=ended.value, reason=reason, finished_at=finished_at)
    changed = store.change_endpoint(session, endpoint, candidate_release_id=None)
    _note(session, f"rollout.{ended.value}", endpoint, rollout, by, reason=reason)
    after_commit(session, lambda: crashpoint("rollout.ended"))
    return changed


def go_back(session: Session, endpoint: Endpoint, move: Move) -> Moved:
    """Takes the live release away from the endpoint. It counts as withdrawn until somebody approves it again."""
    left = endpoint.desired
    moved = _place(session, endpoint, move, candidate=None)
    record(
        session,
        "endpoint.rolled_back",
        actor=(move.by.id, move.by.name),
        subject=("endpoint", endpoint.id),
        project_id=endpoint.project_id,
        left=str(left),
        restored=str(move.release_id),
        generation=moved.generation,
        reason=move.reason,
    )
    after_commit(session, lambda: crashpoint("rollback.committed"))
    return moved


def refresh_pointers(session: Session, endpoint: Endpoint, *, tell: bool) -> None:
    """Derives the pointers anew after an approval changed. Serving is told if the way back is another, or if `tell`."""
    pointers = derive(history_store.ledger_of(session, endpoint), history_store.approvals_of(session, endpoint))
    is_other = pointers.rollback_target != endpoint.rollback_target
    if is_other:
        store.change_endpoint(session, endpoint, rollback_target_id=pointers.rollback_target)
    if is_other or tell:
        store.bump_generation(session)


def _place(session: Session, endpoint: Endpoint, move: Move, *, candidate: object) -> Moved:
    entries = history_store.ledger_of(session, endpoint)
    generation = store.bump_generation(session)
    before = entries[-1] if entries else None
    at = history_store.append_to_ledger(session, endpoint, move, before=before, generation=generation)
    pointers = derive(history_store.ledger_of(session, endpoint), history_store.approvals_of(session, endpoint))
    changed = store.change_endpoint(
        session,
        endpoint,
        desired_release_id=pointers.desired,
        candidate_release_id=candidate,
        current_release_id=pointers.current,
        rollback_target_id=pointers.rollback_target,
    )
    return Moved(changed, generation, at)


def _note(session: Session, action: str, endpoint: Endpoint, rollout: Rollout, by: By, **details: object) -> None:
    record(
        session,
        action,
        actor=(by.id, by.name),
        subject=("rollout", rollout.id),
        project_id=endpoint.project_id,
        endpoint=str(endpoint.id),
        **details,
    )
