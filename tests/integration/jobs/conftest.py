"""A database with a project in it, the play job, and a worker of threads."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.jobs import CountingDoorbell, JobWorld, PlayHandler, make_world

from carrara.contracts.jobs import JobKind
from carrara.jobs.dispatcher import Dispatcher, WorkerSettings
from carrara.jobs.runner import ChildRules, Runner
from carrara.jobs.service import JobService
from carrara.jobs.staging import StagingArea
from carrara.kernel.clock import SystemClock
from carrara.persistence.database import Database
from carrara.sandbox.client import Forkserver


@pytest.fixture
def doorbell() -> CountingDoorbell:
    return CountingDoorbell()


@pytest.fixture
def play() -> PlayHandler:
    return PlayHandler()


@pytest.fixture
def world(database: Database, doorbell: CountingDoorbell, play: PlayHandler) -> JobWorld:
    return make_world(database, JobService({JobKind.TRAIN: play}, doorbell))


@pytest.fixture(scope="session")
def forkserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forkserver]:
    """A real forkserver that has imported nothing: the play job needs nothing."""
    with Forkserver.start([], runtime_dir=tmp_path_factory.mktemp("sandbox")) as forkserver:
        yield forkserver


@pytest.fixture
def signs(tmp_path: Path, play: PlayHandler) -> Path:
    """A folder that children can see, for tests to tell them something."""
    folder = tmp_path / "signs"
    folder.mkdir()
    play.import_paths = (*play.import_paths, folder)
    return folder


@pytest.fixture
def staging(tmp_path: Path) -> StagingArea:
    return StagingArea(tmp_path / "staging")


@pytest.fixture
def runner(database: Database, play: PlayHandler, forkserver: Forkserver, staging: StagingArea) -> Runner:
    rules = ChildRules(
        level=None, timeout_seconds=60, memory_bytes=512 << 20, processes=64, platform_address=("127.0.0.1", 9)
    )
    return Runner(database, {JobKind.TRAIN: play}, forkserver, staging, rules=rules, clock=SystemClock())


@pytest.fixture
def dispatcher(database: Database, play: PlayHandler, runner: Runner) -> Iterator[Dispatcher]:
    """A worker with two slots and short leases, in this process."""
    settings = WorkerSettings(name="test", slots=2, lease_seconds=6, heartbeat_seconds=0.5, poll_seconds=0.2)
    dispatcher = Dispatcher(database, {JobKind.TRAIN: play}, runner.run, settings=settings, clock=SystemClock())
    dispatcher.start()
    yield dispatcher
    dispatcher.stop(0)
