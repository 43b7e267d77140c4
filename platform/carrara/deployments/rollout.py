"""What a rollout does next. Pure: `advance` decides, the reconciler acts.

Evidence moves a rollout on, a failure ends it, and what could not be found out holds it until the deadline.
Past the switch a failure also takes the endpoint back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from carrara.deployments.domain import ROLLOUT_STATES, Check, Outcome, Release, Rollout, RolloutState
from carrara.deployments.instances import Address, Instance, all_of, answers, holds, rehearsed

STRATEGIES = ("all_at_once",)


@dataclass(frozen=True)
class World:
    """What can be seen. `instances` have an unexpired lease. `way_back` is what a rollback after the switch would bring
    back; None is the fallback, if one is declared."""

    address: Address
    candidate: Release
    way_back: Release | None
    has_fallback: bool
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class Step:
    """`to` None: stay and look again. `goes_back`: the endpoint must leave the release as well."""

    to: RolloutState | None
    reason: str
    code: str = ""
    goes_back: bool = False
    evidence: Mapping[str, Any] = field(default_factory=dict)


def advance(rollout: Rollout, world: World, now: datetime) -> Step:
    """The next step of an open rollout. Never moves towards the candidate without a passed check."""
    if ROLLOUT_STATES.is_terminal(rollout.state):
        return Step(None, f"it is {rollout.state}")
    if rollout.state is RolloutState.SWITCHING:
        return _decide(rollout, _is_confirmed(rollout, world), RolloutState.CONFIRMED, now)
    ready = _is_ready(rollout, world)
    if rollout.state is RolloutState.PREPARING:
        return _decide(rollout, ready, RolloutState.REHEARSING, now)
    if not ready.passed:
        return _decide(rollout, ready, RolloutState.SWITCHING, now)
    return _decide(rollout, _is_rehearsed(world, now), RolloutState.SWITCHING, now)


def _is_ready(rollout: Rollout, world: World) -> Check:
    checks = [holds(instance, world.candidate, rollout.generation or 0) for instance in world.instances]
    verdict = all_of("candidate_ready", checks)
    loads = {
        instance.name: report.load_seconds
        for instance in world.instances
        if (report := instance.releases.get(world.candidate.digest)) is not None
    }
    return _with(verdict, {"instances": len(checks), "load_seconds": loads})


def _is_rehearsed(world: World, now: datetime) -> Check:
    if world.way_back is None:
        if not world.has_fallback:
            finding = "there would be no way back: no earlier release and no declared fallback"
            return Check("way_back_rehearsed", Outcome.FAILED, finding, "no_way_back")
        return Check("way_back_rehearsed", Outcome.PASSED, "the declared fallback", evidence={"fallback": True})
    release = world.way_back
    verdict = all_of("way_back_rehearsed", [rehearsed(instance, release, now) for instance in world.instances])
    golden = {
        instance.name: {"rows": report.golden_rows, "seconds": report.golden_seconds, "at": _text(report.golden_at)}
        for instance in world.instances
        if (report := instance.releases.get(release.digest)) is not None
    }
    return _with(verdict, {"release": release.digest, "golden": golden})


def _is_confirmed(rollout: Rollout, world: World) -> Check:
    if rollout.generation is None:
        return Check("confirmed", Outcome.FAILED, "it switched without a route table", "no_generation")
    checks = [answers(instance, world.address, world.candidate, rollout.generation) for instance in world.instances]
    hashed = {
        instance.name: report.hashed_digest
        for instance in world.instances
        if (report := instance.releases.get(world.candidate.digest)) is not None
    }
    return _with(all_of("confirmed", checks), {"generation": rollout.generation, "hashed": hashed})


def _decide(rollout: Rollout, check: Check, onward: RolloutState, now: datetime) -> Step:
    goes_back = rollout.state is RolloutState.SWITCHING
    if check.passed:
        return Step(onward, check.finding, evidence={check.name: dict(check.evidence)})
    if check.outcome is Outcome.FAILED:
        return Step(RolloutState.FAILED, check.finding, check.code, goes_back)
    if now >= rollout.deadline_at:
        reason = f"the deadline passed before it could be told: {check.finding}"
        return Step(RolloutState.FAILED, reason, "could_not_tell", goes_back)
    return Step(None, check.finding, check.code)


def _with(check: Check, evidence: Mapping[str, Any]) -> Check:
    return Check(check.name, check.outcome, check.finding, check.code, check.how_to_pass, evidence)


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
