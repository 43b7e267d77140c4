"""What a revocation may undo: an approval, and never somebody's no."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.support.deployments import FALLBACK, Town
from tests.support.fleet import Fleet

from carrara.deployments import approving
from carrara.kernel.errors import Refused
from carrara.persistence.database import EVERYTHING


def test_rejection_is_not_undone_by_revoking_it(town: Town) -> None:
    town.endpoint(fallback=FALLBACK)
    v1 = town.version(1)
    town.decide(v1)
    rejection = town.decide(v1, "rejected")

    def revoke(session: Any) -> Any:
        return approving.revoke(session, town.project, town.ada, "arrivals", rejection.id, "I disagree")

    with pytest.raises(Refused, match="rejection cannot be revoked") as refused:
        town.do(town.ada, revoke)
    assert refused.value.code == "not_an_approval"
    with pytest.raises(Refused) as still:
        town.promote(v1)
    assert still.value.code == "approval_rejected"

    town.decide(v1)
    assert town.promote(v1).rollout is not None, "a new approval takes its place"


@pytest.mark.parametrize(
    "change",
    [
        "decision = 'approved'",
        "approver_id = release_id",
        "evaluation_digest = 'sha256:'",
        "created_at = now()",
    ],
)
def test_application_can_change_nothing_of_a_decision_but_its_revocation(town: Town, change: str) -> None:
    town.endpoint(fallback=FALLBACK)
    town.decide(town.version(1), "rejected")
    with pytest.raises(DBAPIError, match="permission denied"):
        town.do(town.ada, lambda s: s.execute(text(f"UPDATE approvals SET {change}")))
    with pytest.raises(DBAPIError, match="permission denied"):
        town.do(town.ada, lambda s: s.execute(text("DELETE FROM approvals")))


def test_database_itself_keeps_a_rejection_from_being_revoked(town: Town) -> None:
    town.endpoint(fallback=FALLBACK)
    town.decide(town.version(1), "rejected")
    with pytest.raises(DBAPIError, match="revocable"), town.database.transaction(EVERYTHING) as session:
        session.execute(text("UPDATE approvals SET revoked_at = now()"))


def test_revoking_one_of_two_approvals_goes_back_if_a_later_no_is_then_the_newest(town: Town, fleet: Fleet) -> None:
    v1, v2 = town.version(1), town.version(2)
    town.endpoint(fallback=FALLBACK)
    town.go_live(v1, fleet)
    first = town.decide(v2)
    town.promote(v2)
    for _ in range(3):
        fleet.report()
        town.reconcile()
    town.decide(v2)
    town.decide(v2, "rejected")
    assert town.look().desired.version == 2, "a no alone does not take back what is live"
    town.revoke(first.id)
    assert town.look().desired.version == 1
