"""Where a rollback leads, and why it may be refused in advance. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from carrara.deployments.domain import Approval, Endpoint, LedgerEntry
from carrara.deployments.ledger import ways_back
from carrara.kernel.errors import Refused
from carrara.kernel.ids import ReleaseId


@dataclass(frozen=True)
class WayBack:
    """`release_id` None with `is_possible`: the declared fallback would answer. `others`: what else may be chosen."""

    is_possible: bool
    release_id: ReleaseId | None
    reason: str
    code: str = ""
    others: tuple[ReleaseId, ...] = ()


@dataclass(frozen=True)
class Readiness:
    """What the processes with a lease say of releases: `held` by every one of them, `unloadable` by every one."""

    instances: int = 0
    held: frozenset[ReleaseId] = field(default_factory=frozenset)
    unloadable: frozenset[ReleaseId] = field(default_factory=frozenset)

    def is_cold(self, release_id: ReleaseId) -> bool:
        """Whether some process does not hold it; False if none reports, since then nothing is known."""
        return self.instances > 0 and release_id not in self.held


def find_way_back(
    endpoint: Endpoint,
    entries: Sequence[LedgerEntry],
    approvals: Sequence[Approval],
    unloadable: Collection[ReleaseId] = (),
) -> WayBack:
    """What a rollback would do now. `unloadable`: releases that every serving process reports it cannot load."""
    if not entries:
        return WayBack(False, None, f"nothing was ever live at {endpoint.name}", "nothing_before")
    live = entries[-1].release_id
    found = ways_back(entries, approvals, live)
    sound = [release for release in found if release not in unloadable]
    if found and found[0] in unloadable:
        reason = "no serving process can load the rollback target; choose another with `to`, or `to: fallback`"
        return WayBack(False, found[0], reason, "target_unloadable", tuple(sound))
    if found:
        return WayBack(True, found[0], "the newest confirmed-good release before it", others=tuple(sound[1:]))
    if live is None:
        reason = "the fallback answers already, and no earlier release is good and not withdrawn"
        return WayBack(False, None, reason, "nothing_before")
    if endpoint.fallback is not None:
        return WayBack(True, None, "no earlier release is good and not withdrawn: the declared fallback")
    reason = "no earlier release is good and not withdrawn, and no fallback is declared"
    return WayBack(False, None, reason, "nothing_before")


def choose(
    endpoint: Endpoint, entries: Sequence[LedgerEntry], way: WayBack, wanted: ReleaseId | None, *, to_fallback: bool
) -> ReleaseId | None:
    """The release to bring back (None: the fallback), as asked or by default. `Refused` says why it cannot be."""
    live = entries[-1].release_id if entries else None
    if to_fallback:
        if endpoint.fallback is None or live is None:
            raise Refused(f"{endpoint.name} has no declared fallback, or it answers already", code="nothing_before")
        return None
    if wanted is not None:
        possible = {*way.others, *([way.release_id] if way.is_possible else [])} - {None}
        if wanted not in possible:
            message = "a rollback goes only to an earlier release that was confirmed good and not withdrawn since"
            raise Refused(message, code="not_a_way_back", possible=sorted(str(release) for release in possible))
        return wanted
    if not way.is_possible:
        raise Refused(f"{endpoint.name} cannot be rolled back: {way.reason}", code=way.code)
    return way.release_id


def choose_by_rule(
    endpoint: Endpoint, entries: Sequence[LedgerEntry], way: WayBack, ready: Readiness
) -> ReleaseId | None:
    """The same where nobody is there to choose: the rollback target; else an older release that every process holds;
    else the fallback; else an older one that must be loaded first. `Refused` only if there is none of them.

    The fallback comes before a release that is not loaded: until that is, the one to be left would go on answering.
    """
    if way.is_possible:
        return way.release_id
    held = [release for release in way.others if release in ready.held]
    if held:
        return held[0]
    if endpoint.fallback is not None and entries and entries[-1].release_id is not None:
        return None
    if way.others:
        return way.others[0]
    raise Refused(f"{endpoint.name} cannot be rolled back: {way.reason}", code=way.code)
