"""Promote, confirm, roll back: the whole walk on a real database, with serving's reports through the real store."""

from uuid import uuid4

import pytest
from sqlalchemy import text
from tests.support.deployments import FALLBACK, Town
from tests.support.fleet import Fleet, Process

from carrara.contracts.routes import SlotMode
from carrara.deployments import history_store, ledger, store
from carrara.deployments.release_use import release_use
from carrara.kernel.errors import Refused
from carrara.persistence.database import EVERYTHING


def _slots(town: Town) -> dict[str, SlotMode]:
    (route,) = town.routes().endpoints
    return {slot.release: slot.mode for slot in route.slots}


def test_first_promotion_goes_live_only_when_every_process_confirms(town: Town, fleet: Fleet) -> None:
    v1 = town.version(1)
    town.endpoint()
    town.decide(v1)
    started = town.promote(v1, fallback=FALLBACK)
    assert started.rollout.state == "preparing"
    assert _slots(town) == {v1: SlotMode.WARM}

    assert town.reconcile() == 0, "no process has reported yet"
    fleet.processes[0].report()
    fleet.processes[1].loading = {v1}
    fleet.processes[1].report()
    assert town.reconcile() == 0
    assert "loading" in town.look().rollout.reason

    fleet.processes[1].loading = set()
    fleet.report()
    assert town.reconcile() == 2
    assert _slots(town) == {v1: SlotMode.LIVE}
    view = town.look()
    assert (view.rollout.state, view.status.state) == ("switching", "converging")
    assert view.current is None

    fleet.report()
    assert town.reconcile() == 1
    view = town.look()
    assert view.status.message.startswith("serving delays v1 confirmed by 2/2")
    assert (view.current.version, view.rollout, view.candidate) == (1, None, None)
    (entry,) = town.history()
    assert (entry.kind, entry.by, entry.reason, entry.is_confirmed) == ("promotion", town.ada.name, "better", True)


def test_rollback_brings_back_the_one_before_and_then_the_fallback(town: Town, fleet: Fleet) -> None:
    v1, v2 = town.version(1), town.version(2)
    town.endpoint(fallback=FALLBACK)
    town.go_live(v1, fleet)
    rollout = town.go_live(v2, fleet)
    assert rollout.evidence["way_back_rehearsed"]["release"] == v1
    assert all(found["rows"] == 5 for found in rollout.evidence["way_back_rehearsed"]["golden"].values())
    assert _slots(town) == {v2: SlotMode.LIVE, v1: SlotMode.WARM}
    assert town.routes().endpoints[0].rollback_target == v1

    back = town.roll_back()
    assert (back.left.version, back.restored.version) == (2, 1)
    assert _slots(town) == {v1: SlotMode.LIVE}
    assert town.look().status.state == "converging"
    fleet.report()
    assert town.look().status.state == "serving"

    again = town.roll_back()
    assert again.restored is None
    assert _slots(town) == {}
    fleet.report()
    assert town.look().status.message.startswith("serving the fallback confirmed by 2/2")
    with pytest.raises(Refused, match="fallback answers already") as refused:
        town.roll_back()
    assert refused.value.code == "nothing_before"
    assert not town.look().rollback.possible


def test_rollback_with_nothing_ever_live_is_refused(town: Town) -> None:
    town.endpoint(fallback=FALLBACK)
    with pytest.raises(Refused) as refused:
        town.roll_back()
    assert refused.value.code == "nothing_before"


def test_rolled_back_release_needs_a_new_approval(town: Town, fleet: Fleet) -> None:
    v1, v2 = town.version(1), town.version(2)
    town.endpoint(fallback=FALLBACK)
    town.go_live(v1, fleet)
    town.go_live(v2, fleet)
    town.roll_back()
    with pytest.raises(Refused, match="rolled back at") as refused:
        town.promote(v2)
    assert refused.value.code == "withdrawn"
    town.go_live(v2, fleet)
    assert town.look().current.version == 2


def test_failed_load_ends_the_rollout_and_never_touches_what_is_live(town: Town, fleet: Fleet) -> None:
    v1, v2 = town.version(1), town.version(2)
    town.endpoint(fallback=FALLBACK)
    town.go_live(v1, fleet)
    fleet.processes[1].broken = {v2: "ModuleNotFoundError: no module named 'lightgbm'"}
    town.decide(v2)
    town.promote(v2)
    fleet.report()
    assert town.reconcile() == 1
    view = town.look()
    assert (view.rollout, view.candidate, view.current.version) == (None, None, 1)
    assert _slots(town) == {v1: SlotMode.LIVE}
    with town.database.transaction(EVERYTHING) as session:
        endpoint = store.find_endpoint(session, town.project.id, "arrivals")
        (failed, _) = store.rollouts_before(session, endpoint, None, 2)
    assert failed.state == "failed"
    assert "lightgbm" in failed.reason
    assert len(town.history()) == 1

    fleet.processes[1].broken = {}
    town.promote(v2)
    assert town.reconcile() == 0, "the failure that was reported before this promotion says nothing about it"


def test_release_with_other_bytes_is_not_promoted(town: Town, fleet: Fleet) -> None:
    v1 = town.version(1)
    town.endpoint(fallback=FALLBACK)
    fleet.processes[0].wrong_hash = {v1}
    town.decide(v1)
    town.promote(v1)
    fleet.report()
    town.reconcile()
    assert town.look().rollout is None
    assert town.history() == []


def test_switch_that_is_not_confirmed_goes_back_by_itself(town: Town, fleet: Fleet) -> None:
    v1, v2 = town.version(1), town.version(2)
    town.endpoint(fallback=FALLBACK)
    town.go_live(v1, fleet)
    town.decide(v2)
    town.promote(v2)
    fleet.report()
    assert town.reconcile() == 2
    fleet.processes[0].broken = {v2: "segmentation fault"}
    fleet.report()
    assert town.reconcile() == 1
    view = town.look()
    assert (view.desired.version, view.current.version, view.rollout) == (1, 1, None)
    newest, *_ = town.history()
    assert (newest.kind, newest.by) == ("rollback", "carrara")
    assert "segmentation fault" in newest.reason


def test_without_evidence_a_rollout_holds_until_the_deadline_and_then_fails(town: Town) -> None:
    v1 = town.version(1)
    town.endpoint(fallback=FALLBACK)
    town.decide(v1)
    town.promote(v1)
    assert town.reconcile() == 0
    assert "no serving process reports" in town.look().rollout.reason
    with town.database.transaction(EVERYTHING) as session:
        session.execute(text("UPDATE rollouts SET deadline_at = now() - interval '1 second'"))
    assert town.reconcile() == 1
    assert town.look().rollout is None
    assert town.history() == []


def test_rollback_during_the_switch_ends_on_the_last_confirmed(town: Town, fleet: Fleet) -> None:
    v1, v2, v3 = town.version(1), town.version(2), town.version(3)
    town.endpoint(fallback=FALLBACK)
    town.go_live(v1, fleet)
    town.go_live(v2, fleet)
    town.decide(v3)
    town.promote(v3)
    fleet.report()
    town.reconcile()
    assert town.look().rollout.state == "switching"
    back = town.roll_back()
    assert (back.left.version, back.restored.version) == (3, 2)
    assert back.aborted_rollout is not None
    assert town.look().rollout is None


def test_revoking_the_approval_of_what_is_live_takes_it_back(town: Town, fleet: Fleet) -> None:
    v1, v2 = town.version(1), town.version(2)
    town.endpoint(fallback=FALLBACK)
    town.go_live(v1, fleet)
    approval = town.decide(v2)
    town.promote(v2)
    for _ in range(3):
        fleet.report()
        town.reconcile()
    town.revoke(approval.id)
    view = town.look()
    assert view.desired.version == 1
    assert "revoked" in town.history()[0].reason


def test_changed_policy_voids_no_live_release_and_no_way_back(town: Town, fleet: Fleet) -> None:
    v1, v2 = town.version(1), town.version(2)
    town.endpoint(fallback=FALLBACK)
    town.go_live(v1, fleet)
    town.go_live(v2, fleet)
    town.gates.policy_digest = "sha256:" + "9" * 64
    assert town.roll_back().restored.version == 1


def test_status_is_stale_without_leases_and_unknown_without_reports(town: Town, fleet: Fleet) -> None:
    v1 = town.version(1)
    town.endpoint(fallback=FALLBACK)
    assert town.look().status.state == "empty"
    town.go_live(v1, fleet)
    for process in fleet.processes:
        process.report(lease_seconds=0.0)
    assert town.look().status.state == "stale"
    fleet.processes[0].report()
    status = town.look().status
    assert (status.state, status.confirmed, status.known) == ("converging", 1, 2)
    assert "serving-1/1 has not reported" in status.message
    Process(town.database, "serving-1", 1).report()
    assert town.look().status.state == "serving", "a process under the same name took its place"
    with town.database.transaction(EVERYTHING) as session:
        session.execute(text("DELETE FROM serving_instances"))
    assert town.look().status.state == "unknown"


def test_history_at_a_moment_names_what_was_live(town: Town, fleet: Fleet) -> None:
    v1, v2 = town.version(1), town.version(2)
    town.endpoint(fallback=FALLBACK)
    town.go_live(v1, fleet)
    town.go_live(v2, fleet)
    newest, oldest = town.history()
    (then,) = town.history(at=newest.since.replace(microsecond=max(newest.since.microsecond - 1, 0)))
    assert then.release.version == oldest.release.version == 1
    assert town.history(at=oldest.since.replace(year=2000)) == []
    entries = town.read(history_store.ledger_of)
    assert ledger.faults(entries) == []


def test_fault_f24_delete_live_version_names_who_would_miss_it(town: Town, fleet: Fleet) -> None:
    v1, v2, v3, v4 = (town.version(number) for number in (1, 2, 3, 4))
    town.endpoint(fallback=FALLBACK)
    town.go_live(v1, fleet)
    town.go_live(v2, fleet)
    town.decide(v3)
    town.promote(v3)

    def missed(digest: str) -> list[str]:
        found: list[str] = town.do(town.ada, lambda s: release_use(s, town.project.id, town.release_id(digest)))
        return found

    assert missed(v1) == ["the way back of endpoint 'arrivals'"]
    assert missed(v2) == ["live at endpoint 'arrivals'"]
    assert missed(v3) == ["being promoted at endpoint 'arrivals'"]
    assert missed(v4) == []


def test_report_of_an_unknown_newer_generation_makes_ours_outrun_it(town: Town, fleet: Fleet) -> None:
    town.endpoint()
    table = town.routes()
    process = Process(
        town.database, "restored", 0, boot_id=uuid4(), frozen_table=table.model_copy(update={"generation": 900})
    )
    assert process.report() == 901
    assert town.routes().generation == 901
