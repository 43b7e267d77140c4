"""An attempt that writes too much is ended, however it divides that among files."""

import pytest
from tests.integration.jobs.test_running import over
from tests.support.jobs import JobWorld, PlayHandler

from carrara.contracts.jobs import ErrorClass, JobKind, JobState
from carrara.jobs.runner import ChildRules, Runner
from carrara.jobs.staging import StagingArea
from carrara.kernel.clock import SystemClock
from carrara.sandbox.client import Forkserver


@pytest.fixture
def runner(world: JobWorld, play: PlayHandler, forkserver: Forkserver, staging: StagingArea) -> Runner:
    rules = ChildRules(
        level=None,
        timeout_seconds=60,
        memory_bytes=512 << 20,
        processes=64,
        platform_address=None,
        disk_bytes=16 << 20,
    )
    return Runner(world.database, {JobKind.TRAIN: play}, forkserver, staging, rules=rules, clock=SystemClock())


@pytest.mark.usefixtures("dispatcher")
def test_an_attempt_that_writes_too_much_is_ended_with_the_limit(world: JobWorld) -> None:
    job = over(world, world.submit("fill_disk", max_attempts=1))
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert (job.error.reason, job.error.error_class) == ("disk_limit", ErrorClass.USER)
    assert job.error.facts == {"limit_bytes": 16 << 20}
