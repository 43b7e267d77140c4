"""Policies kept, evidence found, versions judged."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from carrara.access.domain import Actor
from carrara.audit.service import record
from carrara.contracts.documents import parse_document
from carrara.contracts.evaluation import EvaluationView
from carrara.contracts.gates import GatePolicy, GateReport, PolicyView
from carrara.evaluation import store
from carrara.evaluation.gates import Evidence, LiveRelease, default_policy, judge, overall
from carrara.evaluation.ports import Endpoints
from carrara.kernel.digests import digest_json
from carrara.kernel.ids import PolicyId, ProjectId, ReleaseId, VersionId
from carrara.registry import store as registry
from carrara.registry.domain import Version


def put_policy(session: Session, project_id: ProjectId, actor: Actor, document: Mapping[str, Any]) -> PolicyView:
    """Keeps a policy; the same rules again are the same policy. `Invalid` names each fault."""
    kept = policy_document(parse_document(GatePolicy, document, "policy"))
    view, is_new = store.put_policy(session, project_id, kept, actor.id)
    if is_new:
        record(
            session,
            "policy.created",
            actor=(actor.id, actor.name),
            subject=("gate_policy", view.id),
            project_id=project_id,
            digest=view.digest,
            rules=len(kept["rules"]),
        )
    return view


def policy_document(policy: GatePolicy) -> dict[str, Any]:
    """The one way to write a policy down, so that the same rules have the same digest."""
    return policy.model_dump(mode="json", exclude_none=True)


def list_evaluations(
    session: Session, project_id: ProjectId, model: str, number: int, *, after: UUID | None, limit: int
) -> list[EvaluationView]:
    """The version's evaluations, newest first, from the one behind `after`."""
    version = registry.find_version(session, project_id, model, number)
    return store.evaluations(session, project_id, version.id, after=after, limit=limit)


def judge_gates(
    session: Session,
    project_id: ProjectId,
    version_id: VersionId,
    *,
    endpoint: str | None,
    policy_id: PolicyId | None,
    live_release_id: ReleaseId | None,
    now: datetime,
) -> GateReport:
    """The version's newest evaluation judged by the policy (by the task's default one if there is none), against what
    is live. Changes nothing."""
    policy = None
    if policy_id is not None:
        document = store.policy(session, project_id, policy_id).document
        policy = parse_document(GatePolicy, document, "policy")
    version = registry.get_version(session, project_id, version_id)
    return judge_version(session, version, endpoint=endpoint, policy=policy, live_release_id=live_release_id, now=now)


def explain(
    session: Session,
    project_id: ProjectId,
    model: str,
    number: int,
    *,
    endpoint: str | None,
    endpoints: Endpoints,
    now: datetime,
) -> GateReport:
    """What `judge_gates` would say for an endpoint, by its policy and against its live release."""
    version = registry.find_version(session, project_id, model, number)
    standing = endpoints.standing(session, project_id, endpoint) if endpoint is not None else None
    return judge_gates(
        session,
        project_id,
        version.id,
        endpoint=endpoint,
        policy_id=standing.policy_id if standing else None,
        live_release_id=standing.live if standing else None,
        now=now,
    )


def judge_version(
    session: Session,
    version: Version,
    *,
    endpoint: str | None,
    policy: GatePolicy | None,
    live_release_id: ReleaseId | None,
    now: datetime,
) -> GateReport:
    """Judges by `policy`, or by the default of the version's task."""
    project_id = version.project_id
    found = store.newest_evaluation(session, project_id, version.id, against=live_release_id)
    live = store.release(session, project_id, live_release_id) if live_release_id is not None else None
    chosen = policy or _default_for(version, found)
    evidence = Evidence(
        report=found.report if found else None,
        evaluated_at=found.created_at if found else None,
        artifact_bytes=sum(file.size for file in version.said.files) if version.said.artifact_digest else None,
        live=LiveRelease(live.digest, live.model, live.number) if live else None,
        own_release=store.release_digest_of(session, project_id, version.id),
        endpoint=endpoint,
        now=now,
    )
    verdicts = judge(chosen, evidence)
    return GateReport(
        model=version.said.model,
        version=version.said.number,
        endpoint=endpoint,
        outcome=overall(verdicts),
        verdicts=verdicts,
        policy_digest=digest_json(policy_document(chosen)),
        policy_is_default=policy is None,
        evaluation_id=found.id if found else None,
        evaluation_digest=found.digest if found else None,
        live_release=live.digest if live else None,
        judged_at=now,
    )


def _default_for(version: Version, found: EvaluationView | None) -> GatePolicy:
    task = found.report.task if found else version.said.task
    if task == "regression":
        return default_policy("regression")
    return default_policy("classification", has_probabilities=found is None or "log_loss" in found.report.metrics)
