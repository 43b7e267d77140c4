"""Why a promotion or an approval is refused, and what two people at once get."""

from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.support.deployments import FALLBACK, Town, make_town
from tests.support.fleet import Fleet
from tests.support.rivals import race_promotions

from carrara.contracts import deployments as wire
from carrara.contracts.gates import Outcome
from carrara.deployments import history_store, promoting
from carrara.kernel.digests import digest_bytes
from carrara.kernel.errors import CarraraError, Conflict, Forbidden, Invalid, NotFound, Refused
from carrara.kernel.ids import uuid7
from carrara.persistence.database import EVERYTHING, Database


def _code(town: Town, digest: str, kind: type[CarraraError] = Refused, **more: Any) -> str:
    with pytest.raises(kind) as raised:
        town.promote(digest, **more)
    return raised.value.code


def test_each_unmet_condition_has_its_reason(town: Town, fleet: Fleet) -> None:
    town.endpoint()
    v1 = town.version(1)
    assert _code(town, town.version(2, state="rejected")) == "version_rejected"
    assert _code(town, town.version(3, state="registered")) == "not_validated"
    assert _code(town, town.version(4, state="retired")) == "version_retired"
    assert _code(town, v1) == "not_approved"

    town.decide(v1, "rejected")
    assert _code(town, v1) == "approval_rejected"
    approval = town.decide(v1)
    assert _code(town, v1) == "fallback_required"
    town.gates.outcome = Outcome.FAILED
    assert _code(town, v1, fallback=FALLBACK) == "gates_failed"
    town.gates.outcome = Outcome.COULD_NOT_TELL
    assert _code(town, v1, fallback=FALLBACK) == "gates_could_not_tell"
    town.gates.outcome = Outcome.PASSED

    evaluation, town.gates.evaluation_digest = town.gates.evaluation_digest, digest_bytes(b"evaluation 2")
    assert _code(town, v1, fallback=FALLBACK) == "evaluation_changed"
    town.gates.evaluation_digest = evaluation
    policy, town.gates.policy_digest = town.gates.policy_digest, digest_bytes(b"policy 2")
    assert _code(town, v1, fallback=FALLBACK) == "policy_changed"
    town.gates.policy_digest = policy

    assert _code(town, v1, Conflict, fallback=FALLBACK, expected_revision=7) == "revision_changed"
    assert _code(town, v1, Invalid, strategy="canary") == "unknown_strategy"
    town.revoke(approval.id)
    assert _code(town, v1, fallback=FALLBACK) == "approval_rejected", (
        "the rejection before it is the newest that stands"
    )
    town.go_live(v1, fleet, fallback=FALLBACK)
    assert _code(town, v1, Conflict) == "already_live"
    with pytest.raises(NotFound, match="release"):
        town.promote("sha256:" + "0" * 64)


def test_strategy_that_cannot_be_honoured_names_what_is_possible(town: Town) -> None:
    town.endpoint()
    with pytest.raises(Invalid, match="possible: all_at_once"):
        town.promote(town.version(1), strategy="blue_green")


def test_dry_run_explains_everything_that_is_unmet_and_starts_nothing(town: Town) -> None:
    town.endpoint()
    v1 = town.version(1)
    town.gates.outcome = Outcome.FAILED
    plan = town.promote(v1, dry_run=True)
    unmet = {check.name: check for check in plan.checks if check.outcome is not Outcome.PASSED}
    assert (plan.ready, plan.rollout, set(unmet)) == (False, None, {"gates", "approval", "way_back"})
    assert all(check.how_to_pass for check in unmet.values())
    assert unmet["gates"].how_to_pass == "train on more months"
    assert town.look().candidate is None

    town.gates.outcome = Outcome.PASSED
    town.decide(v1)
    assert town.promote(v1, dry_run=True, fallback=FALLBACK).ready


def test_author_cannot_approve_and_nothing_is_kept(town: Town) -> None:
    town.endpoint()
    v1 = town.version(1)
    with pytest.raises(Forbidden, match="author of delays v1") as refused:
        town.decide(v1, by=town.ada)
    assert refused.value.code == "four_eyes"
    assert _code(town, v1) == "not_approved"


def test_author_may_approve_in_a_sandbox_project_and_it_is_marked(database: Database) -> None:
    sandbox = make_town(database, "sandbox", tier=4)
    sandbox.endpoint()
    approval = sandbox.decide(sandbox.version(1), by=sandbox.ada)
    assert approval.is_self_approval


_APPROVE = text(
    "INSERT INTO approvals (id, project_id, release_id, endpoint_id, decision, comment, approver_id, is_self_approval)"
    " SELECT :id, e.project_id, r.id, e.id, :decision, '', :approver, false"
    " FROM endpoints e, releases r WHERE e.name = 'arrivals' AND r.digest = :digest"
)


def test_database_itself_keeps_the_author_from_approving(town: Town) -> None:
    """Four eyes by SQL as the application's role: whatever our code does, the trigger says no."""
    town.endpoint()
    v1 = town.version(1)

    def approve(approver: Any, decision: str = "approved") -> None:
        values = {"id": uuid7(), "decision": decision, "approver": approver.id, "digest": v1}
        town.do(approver, lambda session: session.execute(_APPROVE, values))

    with pytest.raises(DBAPIError, match="cannot approve") as refused:
        approve(town.ada)
    assert refused.value.orig.sqlstate == "CA001"
    approve(town.ada, "rejected")
    approve(town.bob)
    for change in ("decision = 'approved'", "approver_id = :me WHERE decision = 'approved'"):
        with (
            pytest.raises(DBAPIError, match="cannot approve"),
            town.database.transaction(EVERYTHING) as session,
        ):
            session.execute(text(f"UPDATE approvals SET {change}"), {"me": town.ada.id})


def test_promotion_can_be_aborted_before_its_switch_only(town: Town, fleet: Fleet) -> None:
    v1, v2 = town.version(1), town.version(2)
    town.endpoint(fallback=FALLBACK)
    town.decide(v1)

    def abort(rollout_id: Any) -> wire.RolloutView:
        body = wire.AbortRollout(reason="wrong version")
        view: wire.RolloutView = town.do(
            town.ada, lambda s: promoting.abort_rollout(s, town.project, town.ada, "arrivals", rollout_id, body)
        )
        return view

    aborted = abort(town.promote(v1).rollout.id)
    assert (aborted.state, "wrong version" in aborted.reason) == ("aborted", True)
    with pytest.raises(Conflict) as over:
        abort(aborted.id)
    assert over.value.code == "rollout_over"

    town.go_live(v1, fleet)
    town.decide(v2)
    rollout = town.promote(v2).rollout
    fleet.report()
    town.reconcile()
    with pytest.raises(Conflict) as switched:
        abort(rollout.id)
    assert switched.value.code == "already_switched"


@pytest.mark.parametrize("take_away", ["revoke", "reject"])
def test_promotion_whose_approval_is_taken_away_ends_before_its_switch(
    town: Town, fleet: Fleet, take_away: str
) -> None:
    v1 = town.version(1)
    town.endpoint(fallback=FALLBACK)
    approval = town.decide(v1)
    town.promote(v1)
    if take_away == "revoke":
        town.revoke(approval.id)
    else:
        town.decide(v1, "rejected")
    fleet.report()
    town.reconcile()
    view = town.look()
    assert (view.rollout, view.candidate, view.desired, town.history()) == (None, None, None, [])


def test_rollback_leaves_only_what_the_caller_saw_live(town: Town, fleet: Fleet) -> None:
    v1, v2 = town.version(1), town.version(2)
    town.endpoint(fallback=FALLBACK)
    town.go_live(v1, fleet)
    town.go_live(v2, fleet)
    town.roll_back(leaving=v2)
    with pytest.raises(Conflict, match="delays v1 does"):
        town.roll_back(leaving=v2)
    assert town.look().desired.version == 1


def test_of_two_promotions_at_once_one_wins_and_the_other_hears_of_it(town: Town) -> None:
    """The same a thousand times: test_fault_f15_concurrent_promotes."""
    race_promotions(town, rounds=25)
    assert town.history() == []


@pytest.mark.parametrize(("name", "gives"), [("evaluation", "evaluation_digest"), ("policy", "policy_digest")])
def test_decision_on_evidence_that_is_no_longer_in_force_is_refused_with_both(
    town: Town, name: str, gives: str
) -> None:
    town.endpoint()
    v1 = town.version(1)
    was, now = getattr(town.gates, gives), digest_bytes(b"another")
    town.decide(v1, **{name: was})
    setattr(town.gates, gives, now)
    with pytest.raises(Conflict, match=f"{was} and is {now}") as changed:
        town.decide(v1, **{name: was})
    assert changed.value.code == "evidence_changed"
    assert (changed.value.facts["seen"][name], changed.value.facts["in_force"][name]) == (was, now)
    with pytest.raises(Conflict, match=f"none and is {now}"):
        town.decide(v1, **{name: None})
    assert len(town.read(history_store.approvals_of)) == 1
    town.decide(v1, **{name: now})


def test_number_that_no_version_can_have_is_no_choice() -> None:
    with pytest.raises(ValidationError, match="less than 2147483648"):
        wire.Promote(model="delays", version=2**31, reason="x")
