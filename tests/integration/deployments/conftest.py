"""A project with a way to go live."""

import pytest
from tests.support.deployments import Fleet, Town, make_fleet, make_town

from carrara.persistence.database import Database


@pytest.fixture
def town(database: Database) -> Town:
    return make_town(database)


@pytest.fixture
def fleet(town: Town) -> Fleet:
    return make_fleet(town)
