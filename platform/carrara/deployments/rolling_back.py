"""The way back, in one transaction: it waits for nothing, since what it brings back is loaded and was tested."""

from sqlalchemy.orm import Session

from carrara.access.domain import Actor, Project
from carrara.contracts import deployments as wire
from carrara.deployments import acts, history_store, instance_store, releases, store
from carrara.deployments.domain import By, Endpoint, LedgerEntry, LedgerKind, Move, RolloutState
from carrara.deployments.views import names_of, unloadable
from carrara.deployments.way_back import WayBack, choose, find_way_back
from carrara.kernel.errors import Conflict
from carrara.kernel.ids import ReleaseId


def roll_back(
    session: Session, project: Project, actor: Actor, endpoint_name: str, body: wire.RollBack
) -> wire.RollbackView:
    """Leaves what answers now for the rollback target, for `body.to`, or for the fallback; ends an open rollout.

    `Refused(nothing_before | target_unloadable | not_a_way_back)` if there is no such way; `Conflict(not_live)` if
    `body.leaving` is not what answers.
    """
    endpoint = store.find_endpoint(session, project.id, endpoint_name, lock=True)
    if body.leaving is not None:
        _check_leaving(session, project, endpoint, body.leaving)
    entries, way = _look(session, project, endpoint)
    to_fallback = body.to == "fallback"
    named = body.to if not to_fallback else None
    wanted = releases.find_release(session, project.id, named).id if named else None
    target = choose(endpoint, entries, way, wanted, to_fallback=to_fallback)
    return _go(session, project, endpoint, target, by=By(actor.id, actor.name), reason=body.reason)


def take_back(session: Session, project: Project, endpoint: Endpoint, *, by: By, reason: str) -> wire.RollbackView:
    """The same by a rule, on an endpoint that the caller has locked: a failed switch, a revoked approval."""
    entries, way = _look(session, project, endpoint)
    target = choose(endpoint, entries, way, None, to_fallback=False)
    return _go(session, project, endpoint, target, by=by, reason=reason)


def _look(session: Session, project: Project, endpoint: Endpoint) -> tuple[list[LedgerEntry], WayBack]:
    entries = history_store.ledger_of(session, endpoint)
    known = releases.releases_by_id(session, project.id, {entry.release_id for entry in entries})
    bad = unloadable(instance_store.known_instances(session), known.values())
    return entries, find_way_back(endpoint, entries, history_store.approvals_of(session, endpoint), bad)


def _go(
    session: Session, project: Project, endpoint: Endpoint, target: ReleaseId | None, *, by: By, reason: str
) -> wire.RollbackView:
    left = endpoint.desired
    rollout = store.open_rollout(session, endpoint)
    if rollout is not None:
        state = RolloutState.ABORTED if by.id is not None else RolloutState.FAILED
        told = f"rolled back by {by.name}: {reason}"
        endpoint = acts.end_rollout(session, endpoint, rollout, state=state, by=by, reason=told)
    was_live = rollout is not None and rollout.release_id == left
    move = Move(LedgerKind.ROLLBACK, target, rollout.id if rollout and was_live else None, by, reason)
    moved = acts.go_back(session, endpoint, move)
    names = names_of(session, project, [left, target], [])
    return wire.RollbackView(
        endpoint=endpoint.name,
        left=names.ref(left),
        restored=names.ref(target),
        revision=moved.endpoint.revision,
        generation=moved.generation,
        aborted_rollout=rollout.id if rollout else None,
        at=moved.at,
    )


def _check_leaving(session: Session, project: Project, endpoint: Endpoint, digest: str) -> None:
    leaving = releases.find_release(session, project.id, digest)
    if endpoint.desired != leaving.id:
        live = releases.releases_by_id(session, project.id, [endpoint.desired])
        now = next((release.title for release in live.values()), "the fallback, or nothing")
        message = f"{leaving.title} does not answer at {endpoint.name} any more: {now} does"
        raise Conflict(message, code="not_live", live=now)
