"""A project with a way to go live."""

import pytest
from tests.support.deployments import Town, make_town
from tests.support.fleet import Fleet, make_fleet

from carrara.persistence.database import Database


@pytest.fixture
def town(database: Database) -> Town:
    return make_town(database)


@pytest.fixture
def fleet(town: Town) -> Fleet:
    return make_fleet(town.database)
