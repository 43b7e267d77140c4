"""A second person's word for a release at an endpoint: given, refused, taken back."""

from sqlalchemy.orm import Session

from carrara.access.domain import Actor, Project
from carrara.audit.service import record
from carrara.contracts import deployments as wire
from carrara.contracts.gates import GateReport
from carrara.contracts.wire import Page
from carrara.deployments import acts, history_store, releases, store
from carrara.deployments.domain import Approval, By, Decision, Endpoint, RolloutState, VersionFacts
from carrara.deployments.ledger import newest_decisions
from carrara.deployments.ports import Neighbours
from carrara.deployments.rolling_back import take_back
from carrara.deployments.views import approval_view, names_of
from carrara.kernel.errors import Conflict, Refused
from carrara.kernel.ids import ApprovalId, uuid7


def decide(
    session: Session,
    project: Project,
    actor: Actor,
    endpoint_name: str,
    body: wire.DecideApproval,
    *,
    neighbours: Neighbours,
) -> wire.ApprovalView:
    """Keeps the decision with the evaluation and the policy that it rests on. A rejection ends an open rollout of the
    release before its switch; what is live stays until its approval is revoked.

    `Forbidden` for the author outside tier 4; `Refused` while the version has no release; `Conflict(evidence_changed)`
    if the person saw another evaluation or policy than those in force.
    """
    endpoint = store.find_endpoint(session, project.id, endpoint_name, lock=True)
    version = releases.version_facts(session, project.id, body)
    if version.release is None:
        raise Refused(f"{version.title} is {version.state} and has no release to decide about", code="no_release")
    gates = neighbours.gates.judge(session, project.id, version, endpoint, endpoint.desired)
    _check_seen(version, body, gates)
    draft = Approval(
        id=ApprovalId(uuid7()),
        release_id=version.release.id,
        endpoint_id=endpoint.id,
        evaluation_id=gates.evaluation_id,  # type: ignore[arg-type]  # the wire type does not know our NewTypes
        evaluation_digest=gates.evaluation_digest,
        policy_digest=gates.policy_digest,
        decision=Decision(body.decision),
        comment=body.comment,
        approver_id=actor.id,
        is_self_approval=version.author_id == actor.id,
        created_at=store.database_now(session),
    )
    approval = history_store.add_approval(session, endpoint, draft, title=version.title)
    _note_decision(session, project, actor, approval, release=version.release.digest, gates=gates.outcome.value)
    is_ended = False
    if approval.decision is Decision.REJECTED:
        told = f"{actor.name} rejected it" + (f": {body.comment}" if body.comment else "")
        is_ended = _end_rollout_of(session, endpoint, approval, By(actor.id, actor.name), told)
    acts.refresh_pointers(session, endpoint, tell=is_ended)
    return _view(session, project, endpoint, approval)


def _note_decision(session: Session, project: Project, actor: Actor, approval: Approval, **facts: str) -> None:
    _note(
        session,
        f"release.{approval.decision.value}",
        project,
        actor,
        approval,
        endpoint=str(approval.endpoint_id),
        evaluation=approval.evaluation_digest,
        policy=approval.policy_digest,
        is_self_approval=approval.is_self_approval,
        **facts,
    )


def revoke(
    session: Session, project: Project, actor: Actor, endpoint_name: str, approval_id: ApprovalId, reason: str
) -> wire.ApprovalView:
    """Takes an approval back. A rollout that rests on it ends; if its release is live, the endpoint goes back at once.

    `Refused(not_an_approval)` for a rejection: only a new decision takes its place, and the author can make none.
    `Refused` if there is nothing to go back to. Doing it twice is fine.
    """
    endpoint = store.find_endpoint(session, project.id, endpoint_name, lock=True)
    approval = history_store.find_approval(session, endpoint, approval_id)
    if approval.decision is not Decision.APPROVED:
        message = "a rejection cannot be revoked: an approver who thinks otherwise approves the release"
        raise Refused(message, code="not_an_approval", decision=approval.decision.value)
    if approval.revoked_at is not None:
        return _view(session, project, endpoint, approval)
    revoked = history_store.revoke_approval(session, approval, actor.id, reason)
    _note(session, "approval.revoked", project, actor, revoked, endpoint=str(endpoint.id), reason=reason)
    by = By(actor.id, actor.name)
    told = f"its approval was revoked: {reason}"
    is_ended = _end_rollout_of(session, endpoint, approval, by, told)
    newest = newest_decisions(history_store.approvals_of(session, endpoint)).get(approval.release_id)
    stands = newest is not None and newest.decision is Decision.APPROVED
    if endpoint.desired == approval.release_id and not stands:
        take_back(session, project, endpoint, by=by, reason=told)
    else:
        acts.refresh_pointers(session, endpoint, tell=is_ended)
    return _view(session, project, endpoint, revoked)


def list_approvals(
    session: Session, project: Project, endpoint_name: str, *, after: ApprovalId | None, limit: int
) -> Page[wire.ApprovalView]:
    """Decisions at an endpoint, newest first, revoked ones too."""
    endpoint = store.find_endpoint(session, project.id, endpoint_name)
    found = [a for a in history_store.approvals_of(session, endpoint)[::-1] if after is None or a.id < after]
    shown = found[:limit]
    people = {person for approval in shown for person in (approval.approver_id, approval.revoked_by)}
    names = names_of(session, project, {approval.release_id for approval in shown}, people)
    items = [approval_view(endpoint, approval, names) for approval in shown]
    return Page(items=items, next=str(shown[-1].id) if len(found) > limit else None)


def _check_seen(version: VersionFacts, body: wire.DecideApproval, gates: GateReport) -> None:
    in_force = {"evaluation": gates.evaluation_digest, "policy": gates.policy_digest}
    seen = {name: getattr(body, name) for name in in_force if name in body.model_fields_set}
    changed = [name for name, digest in seen.items() if digest != in_force[name]]
    if changed:
        told = "; ".join(f"the {name} was {seen[name] or 'none'} and is {in_force[name] or 'none'}" for name in changed)
        message = f"{version.title} is judged on other evidence than you saw: {told}. Look at its gates, then decide"
        raise Conflict(message, code="evidence_changed", seen=seen, in_force=in_force)


def _end_rollout_of(session: Session, endpoint: Endpoint, approval: Approval, by: By, why: str) -> bool:
    rollout = store.open_rollout(session, endpoint)
    if rollout is None or rollout.release_id != approval.release_id or rollout.state is RolloutState.SWITCHING:
        return False
    acts.end_rollout(session, endpoint, rollout, state=RolloutState.ABORTED, by=by, reason=why)
    return True


def _view(session: Session, project: Project, endpoint: Endpoint, approval: Approval) -> wire.ApprovalView:
    names = names_of(session, project, [approval.release_id], [approval.approver_id, approval.revoked_by])
    return approval_view(endpoint, approval, names)


def _note(session: Session, action: str, project: Project, actor: Actor, approval: Approval, **details: object) -> None:
    subject = ("approval", approval.id)
    record(session, action, actor=(actor.id, actor.name), subject=subject, project_id=project.id, **details)
