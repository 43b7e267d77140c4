"""A database with a project in it, and the play job."""

import pytest
from tests.support.jobs import CountingDoorbell, JobWorld, PlayHandler, make_world

from carrara.contracts.jobs import JobKind
from carrara.jobs.service import JobService
from carrara.persistence.database import Database


@pytest.fixture
def doorbell() -> CountingDoorbell:
    return CountingDoorbell()


@pytest.fixture
def play() -> PlayHandler:
    return PlayHandler()


@pytest.fixture
def world(database: Database, doorbell: CountingDoorbell, play: PlayHandler) -> JobWorld:
    return make_world(database, JobService({JobKind.TRAIN: play}, doorbell))
