"""With no worker at all, the real controller ends dead leases (I1)."""

from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy.orm import Session
from tests.support.jobs import CountingDoorbell, PlayHandler, make_world
from tests.support.own_process import starter
from tests.support.waiting import eventually

from carrara.bootstrap.evaluation import build_evaluation
from carrara.contracts.jobs import ErrorClass, JobError, JobKind, JobState
from carrara.jobs.ports import ClaimedJob
from carrara.jobs.service import JobService
from carrara.kernel.clock import SystemClock
from carrara.persistence.database import Database
from carrara.storage.blobs import Blobs


def test_the_controller_ends_dead_leases_when_every_worker_is_gone(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    world = make_world(database, JobService({JobKind.TRAIN: PlayHandler()}, CountingDoorbell()))
    jobs = [world.submit(max_attempts=2), world.submit(max_attempts=1), world.submit()]
    claimed = [world.must_claim() for _ in jobs]
    world.cancel(jobs[2])
    for job in claimed:
        world.sql("UPDATE jobs SET ready_at = now() - interval '11 seconds' WHERE id = :id RETURNING 1", id=job.id)
    with starter(database_url, tmp_path) as start:
        start("controller")
        eventually(
            lambda: [world.get(job).state for job in jobs] == [JobState.QUEUED, JobState.FAILED, JobState.CANCELLED],
            within_seconds=60,
            what="no job runs without a lease",
        )
    error = world.get(jobs[1]).error
    assert error is not None
    assert error.reason == "worker_lost"


class _Untouchable:
    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a final failure of this kind means something: .{name} was used")


@pytest.mark.parametrize("kind", [JobKind.TRAIN, JobKind.EVALUATE])
def test_a_final_failure_means_nothing_more_to_the_kinds_that_the_controller_does_not_know(kind: JobKind) -> None:
    nothing = cast("Any", _Untouchable())
    parts = build_evaluation(nothing, cast("Blobs", nothing), SystemClock())
    handlers = {handler.kind: handler for handler in (parts.train, parts.evaluate)}
    error = JobError(error_class=ErrorClass.SYSTEM, reason="worker_lost", message="gone")
    handlers[kind].record_failure(cast("Session", nothing), cast("ClaimedJob", nothing), error)
