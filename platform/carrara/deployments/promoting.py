"""Promotions: judged, started, aborted. What happens next is the reconciler's."""

from sqlalchemy.orm import Session

from carrara.access.domain import Actor, Project
from carrara.contracts import deployments as wire
from carrara.contracts.gates import Outcome as GateOutcome
from carrara.deployments import acts, history_store, releases, store
from carrara.deployments.domain import By, Check, Endpoint, LedgerEntry, RolloutState
from carrara.deployments.ledger import newest_decisions
from carrara.deployments.ports import Neighbours
from carrara.deployments.promotion import Change, Facts, check_strategy, conditions, met, refuse_unmet
from carrara.deployments.service import declare_fallback, get_rollout, refuse_unseen_constant, show_rollout
from carrara.kernel.errors import Conflict
from carrara.kernel.ids import RolloutId


def promote(
    session: Session, project: Project, actor: Actor, endpoint_name: str, body: wire.Promote, *, neighbours: Neighbours
) -> wire.PromotionView:
    """Starts a rollout, or raises the first condition that is not met. With `dry_run` it only explains all of them.

    The endpoint's row lock orders rivals: one starts, the others get `Conflict` with the winner's name.
    """
    check_strategy(body.strategy)
    facts = _facts(session, project, endpoint_name, body, neighbours)
    checks = conditions(facts)
    if body.dry_run:
        return _view(facts, checks, None)
    refuse_unmet(checks)
    release = facts.version.release
    assert release is not None  # noqa: S101  # the conditions passed
    endpoint = facts.endpoint
    if body.fallback is not None and body.fallback != endpoint.fallback:
        refuse_unseen_constant(session, endpoint, body.fallback)
        endpoint = declare_fallback(session, project, actor, endpoint, body.fallback, reason=body.reason)
    rollout = acts.start_rollout(
        session,
        endpoint,
        release,
        approval_id=newest_decisions(facts.approvals)[release.id].id,
        strategy=body.strategy,
        by=By(actor.id, actor.name),
        wait_seconds=neighbours.rollout_deadline_seconds,
        why=body.reason,
    )
    return _view(facts, checks, show_rollout(session, project, endpoint, rollout))


def abort_rollout(
    session: Session, project: Project, actor: Actor, endpoint_name: str, rollout_id: RolloutId, body: wire.AbortRollout
) -> wire.RolloutView:
    """Stops a rollout before its switch; past it, `Conflict`: then the way is a rollback."""
    endpoint = store.find_endpoint(session, project.id, endpoint_name, lock=True)
    rollout = store.find_rollout(session, endpoint, rollout_id)
    if rollout.finished_at is not None:
        raise Conflict(f"this rollout is over: {rollout.state}", code="rollout_over", state=rollout.state.value)
    if rollout.state is RolloutState.SWITCHING:
        raise Conflict("the release answers already; roll the endpoint back instead", code="already_switched")
    reason = f"aborted by {actor.name}: {body.reason}"
    by = By(actor.id, actor.name)
    acts.end_rollout(session, endpoint, rollout, state=RolloutState.ABORTED, by=by, reason=reason)
    view = get_rollout(session, project, endpoint_name, rollout_id)
    store.bump_generation(session)
    return view


def _facts(session: Session, project: Project, endpoint_name: str, body: wire.Promote, neighbours: Neighbours) -> Facts:
    endpoint = store.find_endpoint(session, project.id, endpoint_name, lock=not body.dry_run)
    stale = body.expected_revision not in (None, endpoint.revision)
    version = releases.version_facts(session, project.id, body)
    entries = history_store.ledger_of(session, endpoint)
    return Facts(
        endpoint=endpoint,
        version=version,
        gates=neighbours.gates.judge(session, project.id, version, endpoint, endpoint.desired),
        entries=entries,
        approvals=history_store.approvals_of(session, endpoint),
        under_way=_under_way(session, project, endpoint),
        last_change=_last_change(session, project, endpoint, entries) if stale else None,
        expected_revision=body.expected_revision,
        fallback=body.fallback,
    )


def _under_way(session: Session, project: Project, endpoint: Endpoint) -> Change | None:
    rollout = store.open_rollout(session, endpoint)
    if rollout is None:
        return None
    view = show_rollout(session, project, endpoint, rollout)
    return Change(view.started_by, f"promoting {view.release.model} v{view.release.version}")


def _last_change(session: Session, project: Project, endpoint: Endpoint, entries: list[LedgerEntry]) -> Change | None:
    rollouts = store.rollouts_before(session, endpoint, None, 1)
    newest = rollouts[0] if rollouts else None
    last = entries[-1] if entries else None
    if last is not None and (newest is None or (last.rollout_id != newest.id and last.at > newest.started_at)):
        by = releases.person_name(session, last.actor_id) if last.actor_id else "carrara"
        return Change(by, f"rolling {endpoint.name} back")
    if newest is None:
        return None
    view = show_rollout(session, project, endpoint, newest)
    return Change(view.started_by, f"promoting {view.release.model} v{view.release.version} ({view.state})")


def _view(facts: Facts, checks: list[Check], rollout: wire.RolloutView | None) -> wire.PromotionView:
    release = facts.version.release
    return wire.PromotionView(
        endpoint=facts.endpoint.name,
        release=wire.ReleaseRef(digest=release.digest, model=release.model, version=release.number)
        if release
        else None,
        ready=met(checks),
        checks=[
            wire.CheckView(
                name=check.name,
                outcome=GateOutcome(check.outcome.value),
                finding=check.finding,
                code=check.code,
                how_to_pass=check.how_to_pass,
            )
            for check in checks
        ],
        gates=facts.gates,
        rollout=rollout,
        revision=facts.endpoint.revision,
    )
