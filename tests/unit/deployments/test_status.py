"""What an endpoint may say of itself, and what serving is told."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from carrara.contracts.routes import EndpointReport, Fallback, ReleaseReport, SlotMode, SlotState
from carrara.deployments.domain import LedgerEntry, LedgerKind, Release
from carrara.deployments.instances import Instance
from carrara.deployments.route_table import EndpointFacts, slots_of
from carrara.deployments.status import ServingState, status_of
from carrara.kernel.digests import Digest
from carrara.kernel.ids import ReleaseId, VersionId

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADDRESS = ("flights", "arrivals")
DIGEST = Digest("sha256:" + "1" * 64)
OTHER = "sha256:" + "2" * 64
V1 = Release(ReleaseId(UUID(int=1)), DIGEST, VersionId(UUID(int=2)), "delays", 1, 5)


def _entry(release: Release | None) -> LedgerEntry:
    return LedgerEntry(
        sequence=1,
        kind=LedgerKind.PROMOTION,
        release_id=release.id if release else None,
        previous_release_id=None,
        rollout_id=None,
        generation=7,
        actor_id=None,
        reason="",
        at=NOW,
        is_confirmed=True,
    )


def _process(
    index: int,
    *,
    age: float = 1.0,
    expired: bool = False,
    live: str | None = DIGEST,
    hashed: str = DIGEST,
    generation: int = 7,
) -> Instance:
    report = ReleaseReport(digest=DIGEST, state=SlotState.READY, hashed_digest=hashed, golden_rows=5)
    endpoint = EndpointReport(
        project="flights", endpoint="arrivals", live=[live] if live else [], on_fallback=live is None
    )
    return Instance(
        boot_id=UUID(int=1000 + index + int(age * 10)),
        name=f"serving/{index}",
        generation=generation,
        reported_at=NOW - timedelta(seconds=age),
        is_expired=expired,
        releases={DIGEST: report},
        endpoints={ADDRESS: endpoint},
    )


CASES = {
    "no promotion": (None, None, [_process(0)], ServingState.EMPTY, 0, 0),
    "no evidence": (_entry(V1), V1, [], ServingState.UNKNOWN, 0, 0),
    "all confirm": (_entry(V1), V1, [_process(0), _process(1)], ServingState.SERVING, 2, 2),
    "one is behind": (_entry(V1), V1, [_process(0), _process(1, generation=6)], ServingState.CONVERGING, 1, 2),
    "one serves another": (_entry(V1), V1, [_process(0), _process(1, live=OTHER)], ServingState.CONVERGING, 1, 2),
    "one hashed another": (_entry(V1), V1, [_process(0), _process(1, hashed=OTHER)], ServingState.CONVERGING, 1, 2),
    "one went silent": (
        _entry(V1),
        V1,
        [_process(0), _process(1, age=40, expired=True)],
        ServingState.CONVERGING,
        1,
        2,
    ),
    "all went silent": (_entry(V1), V1, [_process(0, age=40, expired=True)], ServingState.STALE, 0, 1),
    "one was replaced": (
        _entry(V1),
        V1,
        [_process(0), _process(0, age=40, expired=True)],
        ServingState.SERVING,
        1,
        1,
    ),
    "the fallback": (_entry(None), None, [_process(0, live=None)], ServingState.SERVING, 1, 1),
    "not yet the fallback": (_entry(None), None, [_process(0)], ServingState.CONVERGING, 0, 1),
}


@pytest.mark.parametrize(
    ("entry", "release", "instances", "state", "confirmed", "known"), CASES.values(), ids=CASES.keys()
)
def test_status(
    entry: LedgerEntry | None,
    release: Release | None,
    instances: list[Instance],
    state: ServingState,
    confirmed: int,
    known: int,
) -> None:
    status = status_of(ADDRESS, entry, release, instances, NOW)
    assert (status.state, status.confirmed, status.known) == (state, confirmed, known), status


def test_status_tells_the_age_of_its_oldest_evidence() -> None:
    status = status_of(ADDRESS, _entry(V1), V1, [_process(0, age=1), _process(1, age=4)], NOW)
    assert status.message == "serving delays v1 confirmed by 2/2 (4 s ago)"
    silent = status_of(ADDRESS, _entry(V1), V1, [_process(0, age=40, expired=True)], NOW)
    assert silent.message == "no report for 40 s; delays v1 should answer"


@pytest.mark.parametrize(
    ("desired", "candidate", "target", "expected"),
    [
        (None, None, None, []),
        ("a", None, None, [("a", SlotMode.LIVE, 100)]),
        ("a", "b", "c", [("a", SlotMode.LIVE, 100), ("b", SlotMode.WARM, 0), ("c", SlotMode.WARM, 0)]),
        ("b", "b", "a", [("b", SlotMode.LIVE, 100), ("a", SlotMode.WARM, 0)]),
        ("a", "b", "b", [("a", SlotMode.LIVE, 100), ("b", SlotMode.WARM, 0)]),
        (None, "b", None, [("b", SlotMode.WARM, 0)]),
    ],
)
def test_slots_of_an_endpoint(
    desired: str | None, candidate: str | None, target: str | None, expected: list[tuple[str, SlotMode, int]]
) -> None:
    facts = EndpointFacts("flights", "arrivals", desired, candidate, target, Fallback(kind="unavailable"))
    assert [(slot.release, slot.mode, slot.weight) for slot in slots_of(facts)] == expected
