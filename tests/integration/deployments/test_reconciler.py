"""One endpoint that cannot be advanced holds up no other."""

import logging
import time

import pytest
from sqlalchemy import text
from tests.support.deployments import FALLBACK, Town
from tests.support.fleet import Fleet

from carrara.deployments import store
from carrara.persistence.database import EVERYTHING


def _two_rollouts(town: Town, fleet: Fleet) -> None:
    for name, digest in (("arrivals", town.version(1)), ("other", town.version(2))):
        town.endpoint(name, fallback=FALLBACK)
        town.decide(digest, endpoint=name)
        town.promote(digest, endpoint=name)
    fleet.report()


def test_locked_endpoint_is_passed_over_until_it_is_free(town: Town, fleet: Fleet) -> None:
    _two_rollouts(town, fleet)
    with town.database.transaction(EVERYTHING) as session:
        store.find_endpoint(session, town.project.id, "arrivals", lock=True)
        began = time.monotonic()
        assert town.reconcile() == 2
        assert time.monotonic() - began < 8, "it does not wait for the lock, which times out after 10 s"
    assert (town.look("arrivals").rollout.state, town.look("other").rollout.state) == ("preparing", "switching")
    assert town.reconcile() == 2
    assert town.look("arrivals").rollout.state == "switching"


def test_endpoint_that_raises_is_logged_and_the_next_one_advances(
    town: Town, fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    _two_rollouts(town, fleet)
    with town.database.transaction(EVERYTHING) as session:
        damage = (
            "UPDATE releases SET manifest = manifest - 'golden' WHERE digest = (SELECT min(r.digest) FROM releases r"
        )
        damage += " JOIN rollouts o ON o.release_id = r.id JOIN endpoints e ON e.id = o.endpoint_id"
        session.execute(text(damage + " WHERE e.name = 'arrivals')"))
    with caplog.at_level(logging.ERROR):
        assert town.reconcile() == 2
    assert town.read(store.open_rollout).state == "preparing"
    assert town.read(store.open_rollout, "other").state == "switching"
    assert any("could not be advanced" in record.message and record.exc_info for record in caplog.records)
