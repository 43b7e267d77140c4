"""Deployments as they are shown: names instead of ids, and a status from evidence."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from carrara.access.domain import Project
from carrara.access.store import user_names
from carrara.contracts import deployments as wire
from carrara.deployments import history_store, instance_store, releases, store
from carrara.deployments.domain import Approval, Endpoint, LedgerEntry, Release, Rollout
from carrara.deployments.instances import Instance
from carrara.deployments.readiness import readiness_of
from carrara.deployments.status import status_of
from carrara.deployments.way_back import find_way_back
from carrara.kernel.ids import ReleaseId, UserId


@dataclass
class Names:
    """Releases and people by id, read once for a whole page."""

    releases: dict[ReleaseId, Release] = field(default_factory=dict)
    people: dict[UUID, str] = field(default_factory=dict)

    def ref(self, release_id: ReleaseId | None) -> wire.ReleaseRef | None:
        return None if release_id is None else self.sure_ref(release_id)

    def sure_ref(self, release_id: ReleaseId) -> wire.ReleaseRef:
        release = self.releases[release_id]
        return wire.ReleaseRef(digest=release.digest, model=release.model, version=release.number)

    def person(self, user_id: UserId | None) -> str:
        return "carrara" if user_id is None else self.people.get(user_id, str(user_id))


def names_of(
    session: Session, project: Project, release_ids: Iterable[ReleaseId | None], people: Iterable[UserId | None]
) -> Names:
    known = [person for person in people if person is not None]
    return Names(releases.releases_by_id(session, project.id, release_ids), user_names(session, known))


def endpoint_views(session: Session, project: Project, endpoints: Sequence[Endpoint]) -> list[wire.EndpointView]:
    """What is known of these endpoints, in a fixed number of queries."""
    if not endpoints:
        return []
    ids = [endpoint.id for endpoint in endpoints]
    ledgers = history_store.ledgers_by_endpoint(session, project.id, ids)
    approvals = history_store.approvals_by_endpoint(session, project.id, ids)
    rollouts = store.open_rollouts_by_endpoint(session, project.id, ids)
    instances = instance_store.known_instances(session)
    now = store.database_now(session)
    ever_live = {entry.release_id for entries in ledgers.values() for entry in entries}
    names = names_of(
        session,
        project,
        ever_live | {endpoint.candidate for endpoint in endpoints},
        {endpoint.created_by for endpoint in endpoints} | {rollout.started_by for rollout in rollouts.values()},
    )
    policies = releases.policy_digests(session, project.id, [e.policy_id for e in endpoints if e.policy_id])
    return [
        _endpoint_view(
            project,
            endpoint,
            _History(ledgers[endpoint.id], approvals[endpoint.id], rollouts.get(endpoint.id)),
            names,
            _Now(instances, now),
            policies.get(endpoint.policy_id) if endpoint.policy_id else None,
        )
        for endpoint in endpoints
    ]


@dataclass(frozen=True)
class _History:
    entries: Sequence[LedgerEntry]
    approvals: Sequence[Approval]
    rollout: Rollout | None


@dataclass(frozen=True)
class _Now:
    instances: Sequence[Instance]
    moment: datetime


def _endpoint_view(
    project: Project, endpoint: Endpoint, history: _History, names: Names, now: _Now, policy: str | None
) -> wire.EndpointView:
    entry = history.entries[-1] if history.entries else None
    live = names.releases[entry.release_id] if entry and entry.release_id else None
    status = status_of((project.name, endpoint.name), entry, live, now.instances, now.moment)
    return wire.EndpointView(
        name=endpoint.name,
        project=project.name,
        description=endpoint.description,
        revision=endpoint.revision,
        desired=names.ref(endpoint.desired),
        candidate=names.ref(endpoint.candidate),
        current=names.ref(endpoint.current),
        fallback=endpoint.fallback,
        policy=policy,
        status=wire.StatusView(
            state=status.state.value,
            message=status.message,
            confirmed=status.confirmed,
            known=status.known,
            age_seconds=status.age_seconds,
            missing=list(status.missing),
        ),
        rollback=_preview(endpoint, history, names, now),
        rollout=rollout_view(endpoint, history.rollout, names) if history.rollout else None,
        created_by=names.person(endpoint.created_by),
        created_at=endpoint.created_at,
    )


def _preview(endpoint: Endpoint, history: _History, names: Names, now: _Now) -> wire.RollbackPreview:
    bad = readiness_of(now.instances, names.releases.values()).unloadable
    way = find_way_back(endpoint, history.entries, history.approvals, bad)
    others = [names.sure_ref(other) for other in way.others]
    if history.rollout is not None and not history.rollout.has_switched:
        title = names.releases[history.rollout.release_id].title
        target = names.ref(endpoint.desired)
        reason = f"{title} does not answer yet: its rollout is ended, and what answers stays"
        return wire.RollbackPreview(possible=True, target=target, reason=reason, others=others)
    return wire.RollbackPreview(
        possible=way.is_possible, target=names.ref(way.release_id), reason=way.reason, others=others
    )


def rollout_view(endpoint: Endpoint, rollout: Rollout, names: Names) -> wire.RolloutView:
    return wire.RolloutView(
        id=rollout.id,
        endpoint=endpoint.name,
        release=names.sure_ref(rollout.release_id),
        previous=names.ref(rollout.previous_release_id),
        strategy=rollout.strategy,
        state=rollout.state.value,
        reason=rollout.reason,
        evidence=dict(rollout.evidence),
        generation=rollout.generation,
        started_by=names.person(rollout.started_by),
        started_at=rollout.started_at,
        deadline_at=rollout.deadline_at,
        finished_at=rollout.finished_at,
    )


def approval_view(endpoint: Endpoint, approval: Approval, names: Names) -> wire.ApprovalView:
    return wire.ApprovalView(
        id=approval.id,
        endpoint=endpoint.name,
        release=names.sure_ref(approval.release_id),
        decision=approval.decision.value,
        comment=approval.comment,
        approver=names.person(approval.approver_id),
        is_self_approval=approval.is_self_approval,
        evaluation_id=approval.evaluation_id,
        evaluation_digest=approval.evaluation_digest,
        policy_digest=approval.policy_digest,
        created_at=approval.created_at,
        revoked_at=approval.revoked_at,
        revoked_by=names.person(approval.revoked_by) if approval.revoked_by else None,
        revocation_reason=approval.revocation_reason,
    )


def history_view(entries: Sequence[LedgerEntry], names: Names) -> list[wire.HistoryEntry]:
    """The ledger newest first, each entry until the next one's moment."""
    if not entries:
        return []
    ends: list[datetime | None] = [*(entry.at for entry in entries[1:]), None]
    return [
        wire.HistoryEntry(
            sequence=entry.sequence,
            kind=entry.kind.value,
            release=names.ref(entry.release_id),
            previous=names.ref(entry.previous_release_id),
            is_confirmed=entry.is_confirmed,
            by=names.person(entry.actor_id),
            reason=entry.reason,
            rollout_id=entry.rollout_id,
            generation=entry.generation,
            since=entry.at,
            until=until,
        )
        for entry, until in zip(reversed(entries), reversed(ends), strict=True)
    ]
