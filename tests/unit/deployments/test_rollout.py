"""What a rollout does next, case by case."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from carrara.contracts.routes import EndpointReport, ReleaseReport, SlotState
from carrara.deployments.domain import Release, Rollout, RolloutState
from carrara.deployments.instances import Instance
from carrara.deployments.rollout import Step, World, advance
from carrara.kernel.digests import Digest
from carrara.kernel.ids import ApprovalId, EndpointId, ReleaseId, RolloutId, UserId, VersionId

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADDRESS = ("flights", "arrivals")


def _release(number: int) -> Release:
    digest = Digest(f"sha256:{number:064x}")
    return Release(ReleaseId(UUID(int=number)), digest, VersionId(UUID(int=100 + number)), "delays", number, 5)


OLD, NEW = _release(1), _release(2)


def _held(release: Release, **changes: Any) -> ReleaseReport:
    ready = {
        "digest": release.digest,
        "state": SlotState.READY,
        "hashed_digest": release.digest,
        "golden_rows": 5,
        "golden_age_seconds": 60.0,
    }
    return ReleaseReport.model_validate({**ready, **changes})


def _process(
    index: int = 0,
    *,
    generation: int = 7,
    live: Release | None = OLD,
    gave_up: Release | None = None,
    **held: ReleaseReport,
) -> Instance:
    reports = list(held.values()) or [_held(OLD), _held(NEW)]
    endpoint = EndpointReport(
        project=ADDRESS[0],
        endpoint=ADDRESS[1],
        live=[live.digest] if live else [],
        on_fallback=gave_up is not None,
        gave_up=[gave_up.digest] if gave_up else [],
    )
    return Instance(
        boot_id=UUID(int=index),
        name=f"serving/{index}",
        generation=generation,
        reported_at=NOW,
        is_expired=False,
        releases={report.digest: report for report in reports},
        endpoints={ADDRESS: endpoint},
    )


def _rollout(state: RolloutState) -> Rollout:
    return Rollout(
        id=RolloutId(UUID(int=1)),
        endpoint_id=EndpointId(UUID(int=2)),
        release_id=NEW.id,
        previous_release_id=OLD.id,
        approval_id=ApprovalId(UUID(int=3)),
        strategy="all_at_once",
        state=state,
        reason="",
        evidence={},
        generation=7,
        started_by=UserId(UUID(int=4)),
        started_at=NOW - timedelta(seconds=10),
        deadline_at=NOW + timedelta(seconds=110),
        finished_at=None,
    )


def _world(*instances: Instance, **changes: Any) -> World:
    world = World(ADDRESS, NEW, OLD, has_fallback=True, instances=instances)
    return replace(world, **changes)


P, R, S = RolloutState.PREPARING, RolloutState.REHEARSING, RolloutState.SWITCHING
FAILED = _held(NEW, state=SlotState.FAILED, error_code="load_failed", error="no module named 'lightgbm'")
LOADING = _held(NEW, state=SlotState.LOADING)
OTHER_BYTES = _held(NEW, hashed_digest=OLD.digest)
STALE = _held(OLD, golden_age_seconds=3600.0, golden_at=NOW + timedelta(days=1))
BY_A_SLOW_CLOCK = _held(OLD, golden_at=NOW - timedelta(days=1))
SWITCHED = _process(live=NEW)

CASES: Mapping[str, tuple[RolloutState, World, RolloutState | None, str]] = {
    "ready on all": (P, _world(_process(0), _process(1)), R, "2/2"),
    "nobody reports": (P, _world(), None, "no serving process"),
    "one still loads": (P, _world(_process(0), _process(1, new=LOADING)), None, "loading"),
    "one does not know it": (P, _world(_process(0), _process(1, old=_held(OLD))), None, "does not know"),
    "one has an older table": (P, _world(_process(0), _process(1, generation=6)), None, "route table 6"),
    "one cannot load it": (P, _world(_process(0), _process(1, new=FAILED)), RolloutState.FAILED, "lightgbm"),
    "a failure before this rollout": (P, _world(_process(0, generation=6, new=FAILED)), None, "route table 6"),
    "one hashed other bytes": (P, _world(_process(0, new=OTHER_BYTES)), RolloutState.FAILED, "hashed"),
    "one hashed nothing": (P, _world(_process(0, new=_held(NEW, hashed_digest=None))), RolloutState.FAILED, "hashed"),
    "golden rows unanswered": (P, _world(_process(0, new=_held(NEW, golden_rows=4))), None, "4 of 5"),
    "the store is away": (
        P,
        _world(_process(0, new=_held(NEW, state=SlotState.FAILED, error_code="store_unavailable", error="timeout"))),
        None,
        "timeout",
    ),
    "way back answers requests": (R, _world(_process(0), _process(1)), S, "2/2"),
    "way back is not held": (R, _world(_process(0), _process(1, new=_held(NEW))), None, "does not know delays v1"),
    "way back was rehearsed long ago": (
        R,
        _world(_process(0, live=None, old=STALE, new=_held(NEW))),
        None,
        "must answer the golden set",
    ),
    "way back waits and was rehearsed": (R, _world(_process(0, live=None)), S, "1/1"),
    "way back was rehearsed by a clock that is slow": (
        R,
        _world(_process(0, live=None, old=BY_A_SLOW_CLOCK, new=_held(NEW))),
        S,
        "1/1",
    ),
    "way back broke, and answers for want of another": (
        R,
        _world(_process(0, gave_up=OLD, old=STALE, new=_held(NEW))),
        None,
        "must answer the golden set",
    ),
    "way back cannot load": (
        R,
        _world(_process(0, old=_held(OLD, state=SlotState.FAILED, error="gone"), new=_held(NEW))),
        RolloutState.FAILED,
        "gone",
    ),
    "first promotion with a fallback": (R, _world(_process(0), way_back=None), S, "fallback"),
    "first promotion without one": (
        R,
        _world(_process(0), way_back=None, has_fallback=False),
        RolloutState.FAILED,
        "no way back",
    ),
    "candidate broke meanwhile": (R, _world(_process(0, old=_held(OLD), new=FAILED)), RolloutState.FAILED, "lightgbm"),
    "nobody reports any more": (R, _world(), None, "no serving process"),
    "all switched": (S, _world(SWITCHED, _process(1, live=NEW)), RolloutState.CONFIRMED, "2/2"),
    "one has not switched": (S, _world(SWITCHED, _process(1)), None, "has not switched"),
    "one fell back by itself": (
        S,
        _world(SWITCHED, _process(1, live=OLD, gave_up=NEW)),
        RolloutState.FAILED,
        "fell back by itself",
    ),
    "one answers 503 instead": (
        S,
        _world(SWITCHED, _process(1, live=None, gave_up=NEW)),
        RolloutState.FAILED,
        "gave up delays v2",
    ),
    "one goes on with it for want of another": (
        S,
        _world(SWITCHED, _process(1, live=NEW, gave_up=NEW)),
        RolloutState.FAILED,
        "gave up delays v2",
    ),
    "nobody could say": (S, _world(), None, "no serving process"),
}


@pytest.mark.parametrize(("state", "world", "to", "reason"), CASES.values(), ids=CASES.keys())
def test_next_step(state: RolloutState, world: World, to: RolloutState | None, reason: str) -> None:
    step = advance(_rollout(state), world, NOW)
    assert (step.to, reason in step.reason) == (to, True), step
    assert step.goes_back is (to is RolloutState.FAILED and state is S)


@pytest.mark.parametrize("state", [P, R, S])
def test_what_cannot_be_told_holds_until_the_deadline_and_then_fails(state: RolloutState) -> None:
    rollout = _rollout(state)
    just_before = advance(rollout, _world(), rollout.deadline_at - timedelta(microseconds=1))
    at_deadline = advance(rollout, _world(), rollout.deadline_at)
    assert just_before.to is None
    assert (at_deadline.to, at_deadline.code) == (RolloutState.FAILED, "could_not_tell")
    assert "no serving process" in at_deadline.reason
    assert at_deadline.goes_back is (state is S)


@pytest.mark.parametrize(("silent_seconds", "to"), [(839, S), (841, None)])
def test_a_rehearsal_ages_while_a_process_is_silent(silent_seconds: int, to: RolloutState | None) -> None:
    told = replace(_process(0, live=None), reported_at=NOW - timedelta(seconds=silent_seconds))

    assert advance(_rollout(R), _world(told), NOW).to is to


def test_evidence_counts_also_after_the_deadline() -> None:
    rollout = _rollout(S)
    step = advance(rollout, _world(SWITCHED), rollout.deadline_at + timedelta(hours=1))
    assert step.to is RolloutState.CONFIRMED
    assert step.evidence["confirmed"]["hashed"] == {"serving/0": NEW.digest}


@pytest.mark.parametrize("state", [RolloutState.CONFIRMED, RolloutState.FAILED, RolloutState.ABORTED])
def test_ended_rollout_takes_no_step(state: RolloutState) -> None:
    assert advance(_rollout(state), _world(SWITCHED), NOW) == Step(None, f"it is {state}")
