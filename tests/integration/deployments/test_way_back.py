"""Where a rollback leads in each state, by a person and by a rule, and what it never brings back."""

import pytest
from tests.support.deployments import FALLBACK, Town
from tests.support.fleet import Fleet

from carrara.deployments.release_use import release_use
from carrara.kernel.errors import Conflict, Refused
from carrara.persistence.database import EVERYTHING
from carrara.registry import service as registry

UNSWITCHED = ("preparing", "rehearsing")


def _live(town: Town, fleet: Fleet, count: int) -> list[str]:
    town.endpoint(fallback=FALLBACK)
    digests = [town.version(number) for number in range(1, count + 1)]
    for digest in digests:
        town.go_live(digest, fleet)
    return digests


def _bring_to(town: Town, fleet: Fleet, state: str, digest: str) -> None:
    """A rollout of this release as far as `state`: the way back's rehearsal is what holds it in `rehearsing`."""
    town.decide(digest)
    town.promote(digest)
    if state == "preparing":
        return
    fleet.report()
    for process in fleet.processes:
        if state == "rehearsing":
            process.loading = {town.look().desired.digest}
            process.report()
    town.reconcile()
    for process in fleet.processes:
        process.loading = set()
    fleet.report()
    if state == "confirmed":
        town.reconcile()


@pytest.mark.parametrize("names_candidate", [False, True])
@pytest.mark.parametrize("state", UNSWITCHED)
def test_fault_f18_rollback_before_the_switch_only_ends_the_rollout(
    town: Town, fleet: Fleet, state: str, names_candidate: bool
) -> None:
    _, v2 = _live(town, fleet, 2)
    v3 = town.version(3)
    _bring_to(town, fleet, state, v3)
    view = town.look()
    assert view.rollout.state == state
    assert (view.rollback.possible, view.rollback.target.version) == (True, 2)

    back = town.roll_back(**({"leaving": v3} if names_candidate else {}))
    assert (back.only_aborted, back.left, back.restored.version) == (True, None, 2)
    assert back.aborted_rollout == view.rollout.id
    assert "delays v3" in back.message and "delays v2" in back.message
    after = town.look()
    assert (after.desired.version, after.current.version, after.rollout, after.candidate) == (2, 2, None, None)
    assert len(town.history()) == 2, "nothing was withdrawn"
    assert back.generation == town.routes().generation
    assert [slot.release for route in town.routes().endpoints for slot in route.slots if slot.weight] == [v2]


@pytest.mark.parametrize("state", ["switching", "confirmed"])
def test_fault_f18_rollback_past_the_switch_ends_on_the_last_confirmed(town: Town, fleet: Fleet, state: str) -> None:
    _live(town, fleet, 2)
    v3 = town.version(3)
    _bring_to(town, fleet, state, v3)
    rollout = town.look().rollout
    assert (rollout.state if rollout else "confirmed") == state
    back = town.roll_back(leaving=v3)
    assert (back.only_aborted, back.left.version, back.restored.version) == (False, 3, 2)
    assert (back.aborted_rollout is not None) == (state == "switching")


def test_rollback_before_the_first_switch_leaves_the_endpoint_empty(town: Town) -> None:
    town.endpoint(fallback=FALLBACK)
    _bring_to(town, Fleet([]), "preparing", town.version(1))
    back = town.roll_back()
    assert (back.only_aborted, back.left, back.restored) == (True, None, None)
    assert (town.look().rollout, town.history()) == (None, [])


@pytest.mark.parametrize("explicit", ["to", "leaving"])
def test_rollback_before_the_switch_leaves_the_live_release_if_that_is_asked(
    town: Town, fleet: Fleet, explicit: str
) -> None:
    v1, v2 = _live(town, fleet, 2)
    _bring_to(town, fleet, "preparing", town.version(3))
    back = town.roll_back(**({"to": v1} if explicit == "to" else {"leaving": v2}))
    assert (back.only_aborted, back.left.version, back.restored.version) == (False, 2, 1)
    assert (back.aborted_rollout is not None, town.look().rollout) == (True, None)


def test_second_of_two_responders_is_told_who_went_back_and_changes_nothing(town: Town, fleet: Fleet) -> None:
    _, _, v3 = _live(town, fleet, 3)
    town.roll_back(by=town.cyd, leaving=v3)
    with pytest.raises(Conflict, match=f"{town.cyd.name} rolled it back at .*answers are wrong") as told:
        town.roll_back(by=town.ada, leaving=v3)
    assert (told.value.code, told.value.facts["by"]) == ("not_live", town.cyd.name)
    assert town.look().desired.version == 2


def test_second_of_two_who_stop_a_rollout_is_told_how_it_ended(town: Town, fleet: Fleet) -> None:
    _live(town, fleet, 2)
    v3 = town.version(3)
    _bring_to(town, fleet, "preparing", v3)
    town.roll_back(by=town.cyd, leaving=v3)
    with pytest.raises(Conflict, match=f"aborted at .*{town.cyd.name}"):
        town.roll_back(by=town.ada, leaving=v3)
    assert town.look().desired.version == 2


def test_revoking_takes_back_past_a_target_that_cannot_be_loaded(town: Town, fleet: Fleet) -> None:
    _, v2 = _live(town, fleet, 2)
    v3 = town.version(3)
    approval = town.decide(v3)
    town.promote(v3)
    for _ in range(3):
        fleet.report()
        town.reconcile()
    for process in fleet.processes:
        process.broken[v2] = "disk"
    fleet.report()
    assert not town.look().rollback.possible, "a person must choose"
    town.revoke(approval.id)
    view = town.look()
    assert view.desired is None, "v1 is loaded nowhere: the fallback answers at once"
    assert "revoked" in town.history()[0].reason


def test_failed_switch_goes_back_past_a_target_that_cannot_be_loaded(town: Town, fleet: Fleet) -> None:
    v1, v2 = _live(town, fleet, 2)
    town.endpoint("elsewhere", fallback=FALLBACK)
    town.go_live(v1, fleet, endpoint="elsewhere")
    v3 = town.version(3)
    _bring_to(town, fleet, "switching", v3)
    for process in fleet.processes:
        process.broken = {v2: "disk", v3: "crash"}
    fleet.report()
    assert town.reconcile() == 1
    view = town.look()
    assert view.desired.version == 1, "every process holds it for another endpoint"
    assert (town.history()[0].by, town.history()[0].is_confirmed) == ("carrara", True)


def test_rollback_to_a_release_that_is_not_loaded_is_refused_with_what_is(town: Town, fleet: Fleet) -> None:
    v1, v2, _ = _live(town, fleet, 3)
    with pytest.raises(Refused, match=r"delays v1 is not loaded.*delays v2.*fallback") as refused:
        town.roll_back(to=v1)
    assert refused.value.code == "not_warm"
    assert refused.value.facts["warm"] == [v2, "fallback"]
    assert town.look().desired.version == 3
    town.endpoint("elsewhere", fallback=FALLBACK)
    town.go_live(v1, fleet, endpoint="elsewhere")
    assert town.roll_back(to=v1).restored.version == 1
    assert town.history()[0].is_confirmed, "every process held it"


def test_rollback_while_no_process_reports_is_kept_and_not_called_confirmed(town: Town, fleet: Fleet) -> None:
    v1, _, _ = _live(town, fleet, 3)
    for process in fleet.processes:
        process.report(lease_seconds=0.0)
    assert town.roll_back(to=v1).restored.version == 1
    assert not town.history()[0].is_confirmed
    view = town.look()
    assert (view.desired.version, view.current.version) == (1, 3)


def test_retired_version_is_no_way_back(town: Town, fleet: Fleet) -> None:
    v1, _, _ = _live(town, fleet, 3)

    def retire(number: int) -> None:
        who, ref = town.ada, ("delays", number)
        town.do(
            who,
            lambda s: registry.retire(s, town.project.id, who, ref, reason="old", is_release_in_use=release_use),
        )

    retire(1)
    with pytest.raises(Refused) as refused:
        town.roll_back(to=v1)
    assert refused.value.code == "not_a_way_back"
    with pytest.raises((Refused, Conflict)):
        retire(2)
    assert town.roll_back().restored.version == 2
    preview = town.look().rollback
    assert (preview.possible, preview.target, preview.others) == (True, None, [])
    with town.database.transaction(EVERYTHING):
        assert town.routes().endpoints[0].rollback_target is None
