"""F15: two users promote two versions at once, a thousand times over."""

import pytest
from tests.support.deployments import make_town
from tests.support.rivals import race_promotions

from carrara.persistence.database import Database


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_fault_f15_concurrent_promotes(database: Database) -> None:
    """One wins, the other gets a conflict with the winner's name; revisions only rise, the ledger stays empty."""
    town = make_town(database)
    wins = race_promotions(town, rounds=1000)
    assert sum(wins.values()) == 1000
    assert town.history() == []
