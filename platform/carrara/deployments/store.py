"""SQL of endpoints, rollouts and the route table's generation."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from carrara.contracts.routes import Fallback
from carrara.deployments.domain import Endpoint, Rollout, RolloutState
from carrara.deployments.tables import EndpointRow, RolloutRow
from carrara.kernel.errors import Conflict, NotFound
from carrara.kernel.ids import ApprovalId, EndpointId, PolicyId, ProjectId, ReleaseId, RolloutId, UserId
from carrara.persistence.database import savepoint

_BUMP = text("UPDATE route_generation SET generation = generation + 1 WHERE id = 1 RETURNING generation")
_TELL = text("SELECT pg_notify(:channel, :payload)")
ROUTES_CHANNEL = "carrara_routes"
ROLLOUTS_CHANNEL = "carrara_rollouts"


def bump_generation(session: Session) -> int:
    """A new number for the route table; serving is told when the transaction commits.

    Every change of what serving must know calls it: endpoints, releases, tokens, members. It takes the row lock that
    all such changes share, so call it late.
    """
    generation: int = session.execute(_BUMP).scalar_one()
    session.execute(_TELL, {"channel": ROUTES_CHANNEL, "payload": str(generation)})
    return generation


def wake_reconciler(session: Session, rollout_id: RolloutId) -> None:
    """Tells the controller, when the transaction commits, that this rollout may have a next step."""
    session.execute(_TELL, {"channel": ROLLOUTS_CHANNEL, "payload": str(rollout_id)})


def database_now(session: Session) -> datetime:
    """The moment of this statement by the database's clock, which all leases and deadlines live on."""
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now


def add_endpoint(session: Session, endpoint: Endpoint) -> None:
    """A new endpoint; `Conflict` if the name was ever used in the project."""
    row = EndpointRow(
        id=endpoint.id,
        project_id=endpoint.project_id,
        name=endpoint.name,
        description=endpoint.description,
        revision=endpoint.revision,
        fallback=endpoint.fallback.model_dump(mode="json") if endpoint.fallback else None,
        policy_id=endpoint.policy_id,
        created_by=endpoint.created_by,
    )
    try:
        with savepoint(session):
            session.add(row)
            session.flush()
    except IntegrityError as error:
        message = f"an endpoint named {endpoint.name!r} exists; names are never reused"
        raise Conflict(message, code="name_taken") from error


def find_endpoint(session: Session, project_id: ProjectId, name: str, *, lock: bool = False) -> Endpoint:
    """The endpoint; with `lock`, nobody else changes it until this transaction ends. `NotFound` if there is none."""
    chosen = select(EndpointRow).where(EndpointRow.project_id == project_id, EndpointRow.name == name)
    return _one(session, chosen.with_for_update() if lock else chosen, name)


def lock_if_free(session: Session, endpoint_id: EndpointId) -> Endpoint | None:
    """The same by id, for the controller; None at once if somebody else holds it."""
    chosen = select(EndpointRow).where(EndpointRow.id == endpoint_id).with_for_update(skip_locked=True)
    row = session.scalars(chosen.execution_options(populate_existing=True)).one_or_none()
    return _endpoint(row) if row is not None else None


def endpoints_after(session: Session, project_id: ProjectId, after: str | None, limit: int) -> Sequence[Endpoint]:
    """Endpoints in the order of their names, past `after`."""
    chosen = select(EndpointRow).where(EndpointRow.project_id == project_id).order_by(EndpointRow.name).limit(limit)
    if after is not None:
        chosen = chosen.where(EndpointRow.name > after)
    return [_endpoint(row) for row in session.scalars(chosen)]


def change_endpoint(session: Session, endpoint: Endpoint, **values: Any) -> Endpoint:
    """Writes these columns and counts the revision up. The caller holds the row lock."""
    row = session.get_one(EndpointRow, endpoint.id)
    for name, value in values.items():
        setattr(row, name, value)
    row.revision = row.revision + 1
    session.flush()
    return _endpoint(row)


def add_rollout(session: Session, rollout: Rollout, project_id: ProjectId) -> Rollout:
    row = RolloutRow(
        id=rollout.id,
        project_id=project_id,
        endpoint_id=rollout.endpoint_id,
        release_id=rollout.release_id,
        previous_release_id=rollout.previous_release_id,
        approval_id=rollout.approval_id,
        strategy=rollout.strategy,
        state=rollout.state.value,
        reason=rollout.reason,
        evidence=dict(rollout.evidence),
        generation=rollout.generation,
        started_by=rollout.started_by,
        deadline_at=rollout.deadline_at,
    )
    session.add(row)
    session.flush()
    session.refresh(row, ["created_at"])
    return _rollout(row)


def open_rollout(session: Session, endpoint: Endpoint) -> Rollout | None:
    """The rollout under way, if any. The endpoint's row lock keeps it so."""
    return open_rollouts_by_endpoint(session, endpoint.project_id, [endpoint.id]).get(endpoint.id)


def open_rollouts_by_endpoint(
    session: Session, project_id: ProjectId, ids: Collection[EndpointId]
) -> dict[EndpointId, Rollout]:
    """The same for many endpoints at once."""
    chosen = select(RolloutRow).where(
        RolloutRow.project_id == project_id, RolloutRow.endpoint_id.in_(ids), RolloutRow.finished_at.is_(None)
    )
    rows = session.scalars(chosen.execution_options(populate_existing=True))
    return {EndpointId(row.endpoint_id): _rollout(row) for row in rows}


def find_rollout(session: Session, endpoint: Endpoint, rollout_id: RolloutId) -> Rollout:
    row = session.get(RolloutRow, rollout_id, populate_existing=True)
    if row is None or row.endpoint_id != endpoint.id:
        raise NotFound("rollout", id=str(rollout_id), endpoint=endpoint.name)
    return _rollout(row)


def rollouts_before(session: Session, endpoint: Endpoint, before: RolloutId | None, limit: int) -> Sequence[Rollout]:
    """Rollouts of an endpoint, newest first, older than `before`."""
    chosen = select(RolloutRow).where(
        RolloutRow.project_id == endpoint.project_id, RolloutRow.endpoint_id == endpoint.id
    )
    if before is not None:
        chosen = chosen.where(RolloutRow.id < before)
    return [_rollout(row) for row in session.scalars(chosen.order_by(RolloutRow.id.desc()).limit(limit))]


def open_rollout_endpoints(session: Session) -> Sequence[EndpointId]:
    """Endpoints with a rollout under way, in all projects that this transaction sees, longest waiting first."""
    chosen = select(RolloutRow.endpoint_id).where(RolloutRow.finished_at.is_(None)).order_by(RolloutRow.id)
    return [EndpointId(found) for found in session.scalars(chosen)]


def change_rollout(
    session: Session, rollout: Rollout, *, evidence: Mapping[str, Any] | None = None, **values: Any
) -> Rollout:
    """Writes these columns and adds to the evidence. The caller holds the endpoint's row lock."""
    row = session.get_one(RolloutRow, rollout.id)
    for name, value in values.items():
        setattr(row, name, value)
    if evidence:
        row.evidence = {**row.evidence, **evidence}
    session.flush()
    session.refresh(row)
    return _rollout(row)


def note_waiting(session: Session, rollout: Rollout, reason: str) -> None:
    """Keeps what an open rollout waits for, for whoever looks."""
    if reason != rollout.reason:
        session.execute(update(RolloutRow).where(RolloutRow.id == rollout.id).values(reason=reason))


def _one(session: Session, chosen: Any, name: str) -> Endpoint:
    row = session.scalars(chosen.execution_options(populate_existing=True)).one_or_none()
    if row is None:
        raise NotFound("endpoint", name=name)
    return _endpoint(row)


def _endpoint(row: EndpointRow) -> Endpoint:
    return Endpoint(
        id=EndpointId(row.id),
        project_id=ProjectId(row.project_id),
        name=row.name,
        description=row.description,
        revision=row.revision,
        desired=_release(row.desired_release_id),
        candidate=_release(row.candidate_release_id),
        current=_release(row.current_release_id),
        rollback_target=_release(row.rollback_target_id),
        fallback=Fallback.model_validate(row.fallback) if row.fallback else None,
        policy_id=PolicyId(row.policy_id) if row.policy_id else None,
        created_by=UserId(row.created_by),
        created_at=row.created_at,
    )


def _release(value: Any) -> ReleaseId | None:
    return ReleaseId(value) if value else None


def _rollout(row: RolloutRow) -> Rollout:
    return Rollout(
        id=RolloutId(row.id),
        endpoint_id=EndpointId(row.endpoint_id),
        release_id=ReleaseId(row.release_id),
        previous_release_id=_release(row.previous_release_id),
        approval_id=ApprovalId(row.approval_id),
        strategy=row.strategy,
        state=RolloutState(row.state),
        reason=row.reason,
        evidence=row.evidence,
        generation=row.generation,
        started_by=UserId(row.started_by),
        started_at=row.created_at,
        deadline_at=row.deadline_at,
        finished_at=row.finished_at,
    )
