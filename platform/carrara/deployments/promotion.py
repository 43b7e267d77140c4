"""May this version go live here? Every condition, in the order in which it is asked. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from carrara.contracts.gates import GateReport
from carrara.contracts.gates import Outcome as GateOutcome
from carrara.contracts.routes import Fallback
from carrara.deployments.domain import Approval, Check, Decision, Endpoint, LedgerEntry, Outcome, VersionFacts
from carrara.deployments.ledger import newest_decisions, withdrawn_at
from carrara.deployments.rollout import STRATEGIES
from carrara.kernel.errors import Conflict, Invalid, Issue, Refused

_CONFLICTS = frozenset({"already_live", "rollout_open", "revision_changed"})


@dataclass(frozen=True)
class Change:
    """Who changed the endpoint last, and how: what a loser of a race is told."""

    by: str
    what: str


@dataclass(frozen=True)
class Facts:
    """Everything that decides a promotion, read under the endpoint's row lock. `under_way`: an open rollout."""

    endpoint: Endpoint
    version: VersionFacts
    gates: GateReport
    entries: Sequence[LedgerEntry]
    approvals: Sequence[Approval]
    under_way: Change | None
    last_change: Change | None
    expected_revision: int | None
    fallback: Fallback | None


def check_strategy(strategy: str) -> None:
    """`Invalid`, naming what is possible, for a strategy that cannot be honoured (D16)."""
    if strategy not in STRATEGIES:
        message = f"{strategy!r} is not a strategy that Carrara can carry out; possible: {', '.join(STRATEGIES)}"
        raise Invalid(message, code="unknown_strategy", issues=[Issue("strategy", message, "unknown_strategy")])


def conditions(facts: Facts) -> list[Check]:
    """All conditions, met or not."""
    return [
        _version(facts.version),
        _release(facts.version),
        _not_live(facts),
        _gates(facts.gates),
        _approval(facts),
        _way_back(facts),
        _nothing_under_way(facts),
        _revision(facts),
    ]


def refuse_unmet(checks: Sequence[Check]) -> None:
    """Raises for the first condition that is not met: `Conflict` where the world moved, else `Refused`."""
    unmet = next((check for check in checks if not check.passed), None)
    if unmet is None:
        return
    kind = Conflict if unmet.code in _CONFLICTS else Refused
    message = f"{unmet.finding}. {unmet.how_to_pass}" if unmet.how_to_pass else unmet.finding
    raise kind(message, code=unmet.code, check=unmet.name, outcome=unmet.outcome.value, **unmet.evidence)


def _version(version: VersionFacts) -> Check:
    name, title = "version", version.title
    if version.state == "rejected":
        why = (version.rejection or {}).get("message") or (version.rejection or {}).get("reason") or "see the version"
        return _no(name, "version_rejected", f"{title} was rejected: {why}", "Register a version without that fault")
    if version.state == "retired":
        return _no(name, "version_retired", f"{title} is retired", "Promote another version")
    if version.state not in ("validated", "evaluated"):
        finding = f"{title} is {version.state}, not yet validated"
        return _open(name, "not_validated", finding, "Wait for its validation job")
    return _yes(name, f"{title} is {version.state}")


def _release(version: VersionFacts) -> Check:
    if version.release is None:
        return _no("release", "no_release", f"{version.title} has no release", "Its validation makes one")
    return _yes("release", version.release.digest)


def _not_live(facts: Facts) -> Check:
    release = facts.version.release
    if release is not None and facts.endpoint.desired == release.id:
        return _no("not_live", "already_live", f"{release.title} is already live at {facts.endpoint.name}", "")
    return _yes("not_live", "another release is live, or none")


def _gates(report: GateReport) -> Check:
    unmet = [verdict for verdict in report.verdicts if verdict.outcome is not GateOutcome.PASSED]
    if report.outcome is GateOutcome.PASSED:
        return _yes("gates", f"{len(report.verdicts)} of {len(report.verdicts)} gates passed")
    findings = "; ".join(f"{verdict.asked}: {verdict.finding}" for verdict in unmet) or "no gate could be judged"
    ways = "; ".join(dict.fromkeys(verdict.how_to_pass for verdict in unmet if verdict.how_to_pass))
    if report.outcome is GateOutcome.FAILED:
        return _no("gates", "gates_failed", f"gates not passed: {findings}", ways)
    return _open("gates", "gates_could_not_tell", f"gates could not tell: {findings}", ways)


def _approval(facts: Facts) -> Check:
    how = f"Someone other than its author approves it for {facts.endpoint.name}, with the role approver"
    release = facts.version.release
    mine = [a for a in facts.approvals if release is not None and a.release_id == release.id]
    decision = newest_decisions(mine).get(release.id) if release is not None else None
    title = facts.version.title
    if decision is None:
        revoked = any(approval.revoked_at for approval in mine)
        told = "the approval of {} was revoked" if revoked else "{} is not approved"
        return _no("approval", "approval_revoked" if revoked else "not_approved", told.format(title), how)
    if decision.decision is Decision.REJECTED:
        said = f": {decision.comment}" if decision.comment else ""
        return _no("approval", "approval_rejected", f"an approver rejected {title}{said}", how)
    withdrawn = withdrawn_at(facts.entries, decision.release_id)
    if withdrawn is not None and withdrawn >= decision.created_at:
        finding = f"{title} was rolled back at {withdrawn:%Y-%m-%d %H:%M:%S} UTC, after it was approved"
        return _no("approval", "withdrawn", finding, f"{how} again")
    if decision.evaluation_digest != facts.gates.evaluation_digest:
        finding = f"{title} was evaluated again after its approval"
        return _no("approval", "evaluation_changed", finding, f"{how}, on the new evaluation")
    if decision.policy_digest != facts.gates.policy_digest:
        finding = f"the gate policy changed after {title} was approved"
        return _no("approval", "policy_changed", finding, f"{how}, under the new policy")
    return _yes("approval", "self-approved (tier 4)" if decision.is_self_approval else "approved")


def _way_back(facts: Facts) -> Check:
    if facts.entries or facts.fallback is not None or facts.endpoint.fallback is not None:
        return _yes("way_back", "an earlier release or a declared fallback")
    how = "Declare what answers if it must be taken back: a constant, or `unavailable` for 503"
    return _no("way_back", "fallback_required", "the first promotion needs a declared fallback", how)


def _nothing_under_way(facts: Facts) -> Check:
    if facts.under_way is None:
        return _yes("nothing_under_way", "no rollout is open")
    change = facts.under_way
    finding = f"{change.by} is {change.what}"
    check = _no("nothing_under_way", "rollout_open", finding, "Wait for it to end, or abort it")
    return _naming(check, change)


def _revision(facts: Facts) -> Check:
    expected, actual = facts.expected_revision, facts.endpoint.revision
    if expected is None or expected == actual:
        return _yes("revision", f"revision {actual}")
    change = facts.last_change
    who = f": {change.by} was {change.what}" if change else ""
    finding = f"{facts.endpoint.name} is at revision {actual}, not {expected}{who}"
    return _naming(_no("revision", "revision_changed", finding, "Look again, then promote with that revision"), change)


def _naming(check: Check, change: Change | None) -> Check:
    evidence = {"winner": change.by, "promoting": change.what} if change else {}
    return Check(check.name, check.outcome, check.finding, check.code, check.how_to_pass, evidence)


def met(checks: Sequence[Check]) -> bool:
    return all(check.passed for check in checks)


def _yes(name: str, finding: str) -> Check:
    return Check(name, Outcome.PASSED, finding)


def _no(name: str, code: str, finding: str, how: str) -> Check:
    return Check(name, Outcome.FAILED, finding, code, how)


def _open(name: str, code: str, finding: str, how: str) -> Check:
    return Check(name, Outcome.COULD_NOT_TELL, finding, code, how)
