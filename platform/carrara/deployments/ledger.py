"""The ledger decides: which release was live when, which are good, and what a rollback would bring back.

Pure. Entries come in the order of their sequence, all of one endpoint.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from carrara.deployments.domain import Approval, Decision, LedgerEntry, LedgerKind
from carrara.kernel.ids import ReleaseId


@dataclass(frozen=True)
class Pointers:
    """`rollback_target` is relative to `desired`: while a switch is unconfirmed it is the release before it."""

    desired: ReleaseId | None
    current: ReleaseId | None
    rollback_target: ReleaseId | None


def newest_decisions(approvals: Iterable[Approval]) -> dict[ReleaseId, Approval]:
    """The newest decision about each release that was not revoked."""
    newest: dict[ReleaseId, Approval] = {}
    for approval in approvals:
        if approval.revoked_at is not None:
            continue
        before = newest.get(approval.release_id)
        if before is None or _order(approval) > _order(before):
            newest[approval.release_id] = approval
    return newest


def withdrawn_at(entries: Iterable[LedgerEntry], release_id: ReleaseId) -> datetime | None:
    """When the endpoint was last rolled back away from this release; None if never."""
    times = [
        entry.at for entry in entries if entry.kind is LedgerKind.ROLLBACK and entry.previous_release_id == release_id
    ]
    return max(times, default=None)


def is_trusted(entries: Iterable[LedgerEntry], decisions: Mapping[ReleaseId, Approval], release_id: ReleaseId) -> bool:
    """Whether its newest decision is an approval that stands and is newer than any rollback away from it."""
    decision = decisions.get(release_id)
    if decision is None or decision.decision is not Decision.APPROVED:
        return False
    withdrawn = withdrawn_at(entries, release_id)
    return withdrawn is None or decision.created_at > withdrawn


def ways_back(
    entries: Sequence[LedgerEntry], approvals: Iterable[Approval], leaving: ReleaseId | None
) -> list[ReleaseId]:
    """Releases that a rollback from `leaving` may bring back: confirmed good, trusted, and their version neither
    retired nor rejected; the last live one first."""
    decisions = newest_decisions(approvals)
    found: list[ReleaseId] = []
    for entry in reversed(entries):
        release = entry.release_id
        if release is None or release == leaving or release in found or not entry.is_confirmed or entry.is_gone:
            continue
        if is_trusted(entries, decisions, release):
            found.append(release)
    return found


def derive(entries: Sequence[LedgerEntry], approvals: Iterable[Approval]) -> Pointers:
    """The pointers of an endpoint, from nothing but its history."""
    if not entries:
        return Pointers(None, None, None)
    confirmed = [entry for entry in entries if entry.is_confirmed]
    back = ways_back(entries, approvals, entries[-1].release_id)
    return Pointers(
        desired=entries[-1].release_id,
        current=confirmed[-1].release_id if confirmed else None,
        rollback_target=back[0] if back else None,
    )


def live_at(entries: Sequence[LedgerEntry], moment: datetime) -> LedgerEntry | None:
    """The entry in force at `moment`; None before the first one."""
    return next((entry for entry in reversed(entries) if entry.at <= moment), None)


def faults(entries: Sequence[LedgerEntry]) -> list[str]:
    """What is wrong with a ledger (I3): gaps in the sequence, times that go back, ends that do not meet."""
    found: list[str] = []
    before: LedgerEntry | None = None
    for place, entry in enumerate(entries, start=1):
        if entry.sequence != place:
            found.append(f"entry {place} has sequence {entry.sequence}")
        previous = before.release_id if before else None
        if entry.previous_release_id != previous:
            found.append(
                f"entry {entry.sequence} says it followed {entry.previous_release_id}, but {previous} was live"
            )
        if before and entry.at < before.at:
            found.append(f"entry {entry.sequence} is older than the one before it")
        if before and entry.generation <= before.generation:
            found.append(f"entry {entry.sequence} has no newer route table than the one before it")
        before = entry
    return found


def _order(approval: Approval) -> tuple[datetime, str]:
    return approval.created_at, str(approval.id)
