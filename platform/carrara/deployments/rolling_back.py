"""The way back, in one transaction: it waits for nothing, since what it brings back is loaded and was tested."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from carrara.access.domain import Actor, Project
from carrara.contracts import deployments as wire
from carrara.deployments import acts, history_store, instance_store, leaving, releases, store
from carrara.deployments.domain import By, Endpoint, LedgerEntry, LedgerKind, Move, Release, Rollout, RolloutState
from carrara.deployments.readiness import readiness_of
from carrara.deployments.views import names_of
from carrara.deployments.way_back import Readiness, WayBack, choose, choose_by_rule, find_way_back
from carrara.kernel.errors import Refused
from carrara.kernel.ids import ReleaseId


@dataclass(frozen=True)
class _Sight:
    """What a rollback is decided by. `known`: every release that was live."""

    entries: list[LedgerEntry]
    way: WayBack
    ready: Readiness
    known: Mapping[ReleaseId, Release]


def roll_back(
    session: Session, project: Project, actor: Actor, endpoint_name: str, body: wire.RollBack
) -> wire.RollbackView:
    """Leaves what answers now for the rollback target, for `body.to`, or for the fallback; ends an open rollout.

    If that rollout has not switched, and neither `body.to` nor the live release as `body.leaving` is given, it is only
    ended: what answers is good. `Refused(nothing_before | target_unloadable | not_a_way_back | not_warm)` if there is
    no such way; `Conflict(not_live)` with who was quicker if `body.leaving` is not what answers.
    """
    endpoint = store.find_endpoint(session, project.id, endpoint_name, lock=True)
    by = By(actor.id, actor.name)
    rollout = store.open_rollout(session, endpoint)
    left = releases.find_release(session, project.id, body.leaving) if body.leaving else None
    is_on_its_way = rollout is not None and not rollout.has_switched and body.to is None
    if rollout is not None and is_on_its_way and (left is None or left.id == rollout.release_id):
        return _only_abort(session, project, endpoint, rollout, by=by, reason=body.reason)
    if left is not None and endpoint.desired != left.id:
        leaving.refuse_left(session, project, endpoint, left)
    seen = _look(session, project, endpoint)
    to_fallback = body.to == "fallback"
    named = body.to if not to_fallback else None
    wanted = releases.find_release(session, project.id, named).id if named else None
    target = choose(endpoint, seen.entries, seen.way, wanted, to_fallback=to_fallback)
    if target is not None and target != seen.way.release_id and seen.ready.is_cold(target):
        _refuse_cold(endpoint, seen, target)
    return _go(session, project, endpoint, _move(seen, target, by=by, reason=body.reason))


def take_back(session: Session, project: Project, endpoint: Endpoint, *, by: By, reason: str) -> wire.RollbackView:
    """The same by a rule, on an endpoint that the caller has locked: a failed switch, a revoked approval.

    `Refused` only if there is neither an earlier good release nor a fallback.
    """
    seen = _look(session, project, endpoint)
    target = choose_by_rule(endpoint, seen.entries, seen.way, seen.ready)
    return _go(session, project, endpoint, _move(seen, target, by=by, reason=reason))


def _look(session: Session, project: Project, endpoint: Endpoint) -> _Sight:
    entries = history_store.ledger_of(session, endpoint)
    known = releases.releases_by_id(session, project.id, {entry.release_id for entry in entries})
    ready = readiness_of(instance_store.known_instances(session), known.values())
    approvals = history_store.approvals_of(session, endpoint)
    return _Sight(entries, find_way_back(endpoint, entries, approvals, ready.unloadable), ready, known)


def _move(seen: _Sight, target: ReleaseId | None, *, by: By, reason: str) -> Move:
    evidence = {"instances": seen.ready.instances, "held_by_all": target in seen.ready.held}
    return Move(LedgerKind.ROLLBACK, target, None, by, reason, evidence if target is not None else {})


def _refuse_cold(endpoint: Endpoint, seen: _Sight, target: ReleaseId) -> None:
    choices = [seen.way.release_id, *seen.way.others]
    held = [seen.known[choice] for choice in choices if choice is not None and choice in seen.ready.held]
    warm = [*(release.digest for release in held), *(["fallback"] if endpoint.fallback is not None else [])]
    told = [f"{release.title} ({release.digest})" for release in held] + warm[len(held) :]
    message = (
        f"{seen.known[target].title} is not loaded by every serving process, so that what answers now would go on"
        f" until it is; ready at once: {', '.join(told) or 'nothing'}"
    )
    raise Refused(message, code="not_warm", warm=warm)


def _only_abort(
    session: Session, project: Project, endpoint: Endpoint, rollout: Rollout, *, by: By, reason: str
) -> wire.RollbackView:
    told = f"rolled back by {by.name} before it answered: {reason}"
    changed = acts.end_rollout(session, endpoint, rollout, state=RolloutState.ABORTED, by=by, reason=told)
    known = releases.releases_by_id(session, project.id, [rollout.release_id, endpoint.desired])
    names = names_of(session, project, [endpoint.desired], [])
    stays = f"{known[endpoint.desired].title} goes on answering" if endpoint.desired else "nothing else changed"
    return wire.RollbackView(
        endpoint=endpoint.name,
        message=f"ended the rollout of {known[rollout.release_id].title} before it answered; {stays}",
        only_aborted=True,
        left=None,
        restored=names.ref(endpoint.desired),
        revision=changed.revision,
        aborted_rollout=rollout.id,
        at=store.database_now(session),
        generation=store.bump_generation(session),
    )


def _go(session: Session, project: Project, endpoint: Endpoint, move: Move) -> wire.RollbackView:
    left, target = endpoint.desired, move.release_id
    names = names_of(session, project, [left, target], [])
    title_left, title_now = (names.releases[found].title if found else "the fallback" for found in (left, target))
    rollout = store.open_rollout(session, endpoint)
    if rollout is not None:
        state = RolloutState.ABORTED if move.by.id is not None else RolloutState.FAILED
        told = f"rolled back by {move.by.name}: {move.reason}"
        endpoint = acts.end_rollout(session, endpoint, rollout, state=state, by=move.by, reason=told)
        if rollout.release_id == left:
            move = replace(move, rollout_id=rollout.id)
    moved = acts.go_back(session, endpoint, move)
    return wire.RollbackView(
        endpoint=endpoint.name,
        message=f"left {title_left}; {title_now} answers",
        only_aborted=False,
        left=names.ref(left),
        restored=names.ref(target),
        revision=moved.endpoint.revision,
        generation=moved.generation,
        aborted_rollout=rollout.id if rollout else None,
        at=moved.at,
    )
