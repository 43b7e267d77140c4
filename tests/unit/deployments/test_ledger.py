"""Pointers from a ledger: tables of cases, and any history that the rules allow."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.contracts.routes import Fallback
from carrara.deployments.domain import Approval, Decision, Endpoint, LedgerEntry, LedgerKind
from carrara.deployments.ledger import Pointers, derive, faults, is_trusted, live_at, newest_decisions, ways_back
from carrara.deployments.way_back import Readiness, choose, choose_by_rule, find_way_back
from carrara.kernel.errors import Refused
from carrara.kernel.ids import ApprovalId, EndpointId, ProjectId, ReleaseId, UserId

START = datetime(2026, 1, 1, tzinfo=UTC)


def _id(number: int) -> ReleaseId:
    return ReleaseId(UUID(int=number))


ENDPOINT = Endpoint(
    id=EndpointId(UUID(int=1)),
    project_id=ProjectId(UUID(int=2)),
    name="arrivals",
    description="",
    revision=1,
    desired=None,
    candidate=None,
    current=None,
    rollback_target=None,
    fallback=Fallback(kind="unavailable"),
    policy_id=None,
    created_by=UserId(UUID(int=3)),
    created_at=START,
)


@dataclass
class History:
    """Builds a ledger as the service does, one second a step."""

    entries: list[LedgerEntry] = field(default_factory=list)
    approvals: list[Approval] = field(default_factory=list)
    seconds: int = 0

    def _tick(self) -> datetime:
        self.seconds += 1
        return START + timedelta(seconds=self.seconds)

    @property
    def live(self) -> ReleaseId | None:
        return self.entries[-1].release_id if self.entries else None

    def decide(self, number: int, decision: Decision = Decision.APPROVED) -> "History":
        at = self._tick()
        self.approvals.append(
            Approval(
                id=ApprovalId(UUID(int=self.seconds)),
                release_id=_id(number),
                endpoint_id=ENDPOINT.id,
                evaluation_id=None,
                evaluation_digest=None,
                policy_digest=None,
                decision=decision,
                comment="",
                approver_id=UserId(UUID(int=9)),
                is_self_approval=False,
                created_at=at,
            )
        )
        return self

    def revoke(self, number: int) -> "History":
        at = self._tick()
        self.approvals = [
            replace(a, revoked_at=at) if a.release_id == _id(number) and a.revoked_at is None else a
            for a in self.approvals
        ]
        return self

    def promote(self, number: int, *, confirmed: bool = True) -> "History":
        self._add(LedgerKind.PROMOTION, _id(number), confirmed)
        return self

    def back(self, to: ReleaseId | None) -> "History":
        self._add(LedgerKind.ROLLBACK, to, True)
        return self

    def _add(self, kind: LedgerKind, release: ReleaseId | None, confirmed: bool) -> None:
        self.entries.append(
            LedgerEntry(
                sequence=len(self.entries) + 1,
                kind=kind,
                release_id=release,
                previous_release_id=self.live,
                rollout_id=None,
                generation=len(self.entries) + 1,
                actor_id=None,
                reason="",
                at=self._tick(),
                is_confirmed=confirmed,
            )
        )


def _h(*numbers: int) -> History:
    history = History()
    for number in numbers:
        history.decide(number).promote(number)
    return history


CASES = {
    "nothing yet": (History(), (None, None, None)),
    "the first": (_h(1), (1, 1, None)),
    "the second": (_h(1, 2), (2, 2, 1)),
    "promoted again": (_h(1, 2, 1), (1, 1, 2)),
    "switching": (_h(1, 2).decide(3).promote(3, confirmed=False), (3, 2, 2)),
    "first one switching": (History().decide(1).promote(1, confirmed=False), (1, None, None)),
    "rolled back": (_h(1, 2, 3).back(_id(2)), (2, 2, 1)),
    "rolled back twice": (_h(1, 2, 3).back(_id(2)).back(_id(1)), (1, 1, None)),
    "rolled back to the fallback": (_h(1).back(None), (None, None, None)),
    "approved again after the rollback": (_h(1, 2).back(_id(1)).decide(2), (1, 1, 2)),
    "back by one that was never confirmed": (
        _h(1, 2).decide(3).promote(3, confirmed=False).back(_id(2)),
        (2, 2, 1),
    ),
    "way back revoked": (_h(1, 2, 3).revoke(2), (3, 3, 1)),
    "way back rejected later": (_h(1, 2, 3).decide(2, Decision.REJECTED), (3, 3, 1)),
    "past one that was skipped": (_h(1, 2, 3).back(_id(1)), (1, 1, 2)),
}


@pytest.mark.parametrize(("history", "expected"), CASES.values(), ids=CASES.keys())
def test_pointers(history: History, expected: tuple[int | None, int | None, int | None]) -> None:
    desired, current, target = (_id(n) if n is not None else None for n in expected)
    assert derive(history.entries, history.approvals) == Pointers(desired, current, target)
    assert faults(history.entries) == []


def test_what_was_live_at_a_moment() -> None:
    history = _h(1, 2).back(_id(1))
    first, second, third = history.entries
    assert live_at(history.entries, first.at - timedelta(microseconds=1)) is None
    assert live_at(history.entries, first.at) == first
    assert live_at(history.entries, third.at - timedelta(microseconds=1)) == second
    assert live_at(history.entries, third.at + timedelta(days=1)) == third


def test_faults_of_a_ledger_are_named() -> None:
    first, second = _h(1, 2).entries
    assert "sequence 3" in faults([first, replace(second, sequence=3)])[0]
    assert "was live" in faults([first, replace(second, previous_release_id=_id(7))])[0]
    assert "older" in faults([first, replace(second, at=START)])[0]
    assert "route table" in faults([first, replace(second, generation=1)])[0]


@pytest.mark.parametrize(
    ("history", "fallback", "code"),
    [
        (History(), True, "nothing_before"),
        (_h(1), False, "nothing_before"),
        (_h(1).back(None), True, "nothing_before"),
    ],
)
def test_rollback_is_refused_in_advance(history: History, fallback: bool, code: str) -> None:
    endpoint = ENDPOINT if fallback else replace(ENDPOINT, fallback=None)
    way = find_way_back(endpoint, history.entries, history.approvals)
    assert (way.is_possible, way.code) == (False, code)
    with pytest.raises(Refused, match="cannot be rolled back"):
        choose(endpoint, history.entries, way, None, to_fallback=False)


def test_target_that_no_process_can_load_is_refused_and_the_next_good_one_offered() -> None:
    history = _h(1, 2, 3)
    way = find_way_back(ENDPOINT, history.entries, history.approvals, unloadable={_id(2)})
    assert (way.is_possible, way.code, way.others) == (False, "target_unloadable", (_id(1),))
    assert choose(ENDPOINT, history.entries, way, _id(1), to_fallback=False) == _id(1)
    assert choose(ENDPOINT, history.entries, way, None, to_fallback=True) is None
    with pytest.raises(Refused) as refused:
        choose(ENDPOINT, history.entries, way, _id(2), to_fallback=False)
    assert refused.value.code == "not_a_way_back"


STEPS = st.lists(
    st.tuples(st.sampled_from(["approve", "reject", "revoke", "promote", "fail", "back"]), st.integers(1, 4)),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_any_history_keeps_its_promises(steps: list[tuple[str, int]]) -> None:
    """The service's own rules decide which step is possible; the promises hold after each."""
    history = History()
    for act, number in steps:
        decisions = newest_decisions(history.approvals)
        trusted = is_trusted(history.entries, decisions, _id(number))
        if act == "approve":
            history.decide(number)
        elif act == "reject":
            history.decide(number, Decision.REJECTED)
        elif act == "revoke" and history.live != _id(number):
            history.revoke(number)
        elif act in ("promote", "fail") and trusted and history.live != _id(number):
            history.promote(number, confirmed=act == "promote")
        elif act == "back":
            way = find_way_back(ENDPOINT, history.entries, history.approvals)
            if way.is_possible:
                left = history.live
                assert way.release_id != left
                assert way.release_id is None or is_trusted(history.entries, decisions, way.release_id)
                assert way.release_id is None or any(
                    entry.release_id == way.release_id and entry.is_confirmed for entry in history.entries
                )
                history.back(way.release_id)
                assert left not in ways_back(history.entries, history.approvals, history.live), "it is withdrawn"
        pointers = derive(history.entries, history.approvals)
        assert faults(history.entries) == []
        assert pointers.desired == history.live
        assert pointers.rollback_target is None or pointers.rollback_target != pointers.desired


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=12))
def test_rolling_back_again_and_again_ends_and_visits_nothing_twice(numbers: list[int]) -> None:
    history = History()
    for number in numbers:
        if history.live != _id(number):
            history.decide(number).promote(number)
    visited = [history.live]
    while (way := find_way_back(ENDPOINT, history.entries, history.approvals)).is_possible:
        history.back(way.release_id)
        visited.append(way.release_id)
    assert len(set(visited)) == len(visited)
    assert visited[-1] is None


READY = Readiness(instances=2, held=frozenset({_id(1)}))


@pytest.mark.parametrize(
    ("history", "unloadable", "ready", "fallback", "expected"),
    [
        (_h(1, 2, 3), set(), READY, True, 2),
        (_h(1, 2, 3), {2}, READY, True, 1),
        (_h(1, 2, 3), {2}, Readiness(instances=2), True, None),
        (_h(1, 2, 3), {2}, Readiness(instances=2), False, 1),
        (_h(1, 2), {1}, Readiness(instances=2), True, None),
        (_h(1), set(), READY, True, None),
    ],
    ids=[
        "the target",
        "an older one that is held",
        "the fallback before one that must be loaded",
        "one that must be loaded before nothing",
        "only the fallback is left",
        "nothing was before",
    ],
)
def test_rule_gives_up_only_if_there_is_no_way(
    history: History, unloadable: set[int], ready: Readiness, fallback: bool, expected: int | None
) -> None:
    endpoint = ENDPOINT if fallback else replace(ENDPOINT, fallback=None)
    way = find_way_back(endpoint, history.entries, history.approvals, {_id(number) for number in unloadable})
    found = choose_by_rule(endpoint, history.entries, way, ready)
    assert found == (_id(expected) if expected is not None else None)


def test_rule_is_refused_if_there_is_neither_a_good_release_nor_a_fallback() -> None:
    endpoint = replace(ENDPOINT, fallback=None)
    history = _h(1, 2)
    way = find_way_back(endpoint, history.entries, history.approvals, {_id(1)})
    with pytest.raises(Refused) as refused:
        choose_by_rule(endpoint, history.entries, way, READY)
    assert refused.value.code == "target_unloadable"


def test_version_that_is_gone_is_no_way_back_and_what_was_unconfirmed_is_not_current() -> None:
    history = _h(1, 2, 3)
    history.entries = [replace(entry, is_gone=entry.release_id == _id(2)) for entry in history.entries]
    assert derive(history.entries, history.approvals) == Pointers(_id(3), _id(3), _id(1))
    history.back(_id(1))
    history.entries[-1] = replace(history.entries[-1], is_confirmed=False)
    assert derive(history.entries, history.approvals).current == _id(3)
