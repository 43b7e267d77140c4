"""Endpoints: made, described, looked back on. Every function runs in the caller's transaction and never commits."""

from datetime import datetime

from sqlalchemy.orm import Session

from carrara.access.domain import Actor, Project
from carrara.audit.service import record
from carrara.contracts import deployments as wire
from carrara.contracts.routes import Fallback
from carrara.contracts.wire import Page
from carrara.deployments import history_store, instance_store, releases, store
from carrara.deployments.domain import Endpoint, Rollout
from carrara.deployments.ledger import live_at
from carrara.deployments.readiness import readiness_of
from carrara.deployments.views import endpoint_views, history_view, names_of, rollout_view
from carrara.deployments.way_back import find_way_back
from carrara.kernel.errors import Refused
from carrara.kernel.ids import EndpointId, RolloutId, uuid7
from carrara.kernel.names import check_slug


def create_endpoint(session: Session, project: Project, actor: Actor, body: wire.CreateEndpoint) -> wire.EndpointView:
    """A new address with nothing behind it. `Conflict` if the name was ever used."""
    check_slug(body.name, "endpoint")
    policy_id = releases.policy_by_digest(session, project.id, body.policy) if body.policy else None
    endpoint = Endpoint(
        id=EndpointId(uuid7()),
        project_id=project.id,
        name=body.name,
        description=body.description,
        revision=1,
        desired=None,
        candidate=None,
        current=None,
        rollback_target=None,
        fallback=body.fallback,
        policy_id=policy_id,
        created_by=actor.id,
        created_at=store.database_now(session),
    )
    store.add_endpoint(session, endpoint)
    _note(session, "endpoint.created", project, actor, endpoint, name=body.name, policy=body.policy)
    view = get_endpoint(session, project, body.name)
    store.bump_generation(session)
    return view


def get_endpoint(session: Session, project: Project, name: str) -> wire.EndpointView:
    """The endpoint with its status, its way back and what is under way."""
    return endpoint_views(session, project, [store.find_endpoint(session, project.id, name)])[0]


def list_endpoints(session: Session, project: Project, *, after: str | None, limit: int) -> Page[wire.EndpointView]:
    """Endpoints by name."""
    found = store.endpoints_after(session, project.id, after, limit + 1)
    shown = found[:limit]
    return Page(items=endpoint_views(session, project, shown), next=shown[-1].name if len(found) > limit else None)


def set_policy(session: Session, project: Project, actor: Actor, name: str, body: wire.SetPolicy) -> wire.EndpointView:
    """Another gate policy for the next promotions. What is live stays; approvals under the old one no longer hold."""
    policy_id = releases.policy_by_digest(session, project.id, body.policy) if body.policy else None
    endpoint = store.find_endpoint(session, project.id, name, lock=True)
    store.change_endpoint(session, endpoint, policy_id=policy_id)
    _note(session, "endpoint.policy_set", project, actor, endpoint, policy=body.policy, reason=body.reason)
    return get_endpoint(session, project, name)


def set_fallback(
    session: Session, project: Project, actor: Actor, name: str, body: wire.SetFallback, *, is_approver: bool
) -> wire.EndpointView:
    """Another fallback. `Refused` if it is taken away while it answers, or while it is the only way back, and to all
    but approvers if it is a constant and the endpoint has been live."""
    endpoint = store.find_endpoint(session, project.id, name, lock=True)
    if not is_approver:
        refuse_unseen_constant(session, endpoint, body.fallback)
    if body.fallback is None:
        _refuse_bare(session, project, endpoint)
    declare_fallback(session, project, actor, endpoint, body.fallback, reason=body.reason)
    view = get_endpoint(session, project, name)
    store.bump_generation(session)
    return view


def declare_fallback(
    session: Session, project: Project, actor: Actor, endpoint: Endpoint, fallback: Fallback | None, *, reason: str
) -> Endpoint:
    """Writes the fallback of a locked endpoint. The caller tells serving (`bump_generation`), last."""
    value = fallback.model_dump(mode="json") if fallback else None
    changed = store.change_endpoint(session, endpoint, fallback=value)
    _note(session, "endpoint.fallback_set", project, actor, endpoint, fallback=value, reason=reason)
    return changed


def history(session: Session, project: Project, name: str, at: datetime | None = None) -> list[wire.HistoryEntry]:
    """What was live when, newest first; with `at`, only the entry in force at that moment, or none."""
    endpoint = store.find_endpoint(session, project.id, name)
    entries = history_store.ledger_of(session, endpoint)
    ids = {entry.release_id for entry in entries}
    names = names_of(session, project, ids, {entry.actor_id for entry in entries})
    shown = history_view(entries, names)
    if at is None:
        return shown
    entry = live_at(entries, at)
    return [view for view in shown if entry is not None and view.sequence == entry.sequence]


def get_rollout(session: Session, project: Project, name: str, rollout_id: RolloutId) -> wire.RolloutView:
    endpoint = store.find_endpoint(session, project.id, name)
    return show_rollout(session, project, endpoint, store.find_rollout(session, endpoint, rollout_id))


def show_rollout(session: Session, project: Project, endpoint: Endpoint, rollout: Rollout) -> wire.RolloutView:
    """A rollout that was read already, with its names."""
    names = names_of(session, project, [rollout.release_id, rollout.previous_release_id], [rollout.started_by])
    return rollout_view(endpoint, rollout, names)


def list_rollouts(
    session: Session, project: Project, name: str, *, after: RolloutId | None, limit: int
) -> Page[wire.RolloutView]:
    """Rollouts of an endpoint, newest first."""
    endpoint = store.find_endpoint(session, project.id, name)
    found = store.rollouts_before(session, endpoint, after, limit + 1)
    shown = found[:limit]
    ids = {release for rollout in shown for release in (rollout.release_id, rollout.previous_release_id)}
    names = names_of(session, project, ids, {rollout.started_by for rollout in shown})
    items = [rollout_view(endpoint, rollout, names) for rollout in shown]
    return Page(items=items, next=str(shown[-1].id) if len(found) > limit else None)


def refuse_unseen_constant(session: Session, endpoint: Endpoint, fallback: Fallback | None) -> None:
    """`Refused` for a constant on an endpoint with a history: one call of a rollback would put it live, unapproved."""
    changes = fallback is not None and fallback != endpoint.fallback and fallback.kind == "constant"
    if changes and history_store.ledger_of(session, endpoint):
        raise Refused(
            f"{endpoint.name} has been live, so what it answers without a release is an approver's to change; "
            "ask one, or declare `unavailable`",
            code="fallback_needs_approver",
        )


def _refuse_bare(session: Session, project: Project, endpoint: Endpoint) -> None:
    entries = history_store.ledger_of(session, endpoint)
    if not entries and store.open_rollout(session, endpoint) is None:
        return
    approvals = history_store.approvals_of(session, endpoint)
    known = releases.releases_by_id(session, project.id, {entry.release_id for entry in entries})
    ready = readiness_of(instance_store.known_instances(session), known.values())
    way = find_way_back(endpoint, entries, approvals, ready.unloadable)
    if not entries or entries[-1].release_id is None or way.release_id is None:
        message = f"the fallback is all that {endpoint.name} could go back to; declare another instead of none"
        raise Refused(message, code="fallback_needed")


def _note(session: Session, action: str, project: Project, actor: Actor, endpoint: Endpoint, **details: object) -> None:
    subject = ("endpoint", endpoint.id)
    record(session, action, actor=(actor.id, actor.name), subject=subject, project_id=project.id, **details)
