"""Attempts in real confined children: what they give, how they fail, how they are stopped."""

import os
from pathlib import Path
from uuid import UUID

import psutil
import pytest
from tests.support.jobs import JobWorld, PlayHandler
from tests.support.waiting import eventually

from carrara.contracts.jobs import ErrorClass, JobState, JobView
from carrara.jobs import leases
from carrara.jobs.dispatcher import Dispatcher
from carrara.jobs.staging import StagingArea
from carrara.kernel.ids import uuid7
from carrara.persistence.database import EVERYTHING
from carrara.sandbox.client import Forkserver

OVER = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


def over(world: JobWorld, job_id: UUID, within_seconds: float = 30) -> JobView:
    def look() -> JobView | None:
        job = world.get(job_id)
        return job if job.state in OVER else None

    found = eventually(look, within_seconds=within_seconds, what=f"job {job_id} is over")
    assert found is not None
    return found


def at_half(world: JobWorld, job_id: UUID) -> None:
    eventually(lambda: "half" in world.get(job_id).progress.message, within_seconds=30, what="the child is at half")


@pytest.mark.usefixtures("dispatcher")
def test_a_job_runs_confined_and_its_output_metrics_and_result_arrive(world: JobWorld, tmp_path: Path) -> None:
    job_id = world.submit()
    job = over(world, job_id)
    assert job.error is None
    assert job.state is JobState.SUCCEEDED
    assert job.result == {"note": "done", "answer": 42, "metric_events": 1, "attempt": 1}
    assert job.progress.metrics == {"loss": 0.25}
    assert "thinking about: what is six times seven?" in world.log(job_id)
    assert world.marks(job_id) == [(1, "recorded")]
    assert world.outcomes(job_id) == ["succeeded"]
    peak = world.sql("SELECT peak_memory_bytes FROM job_attempts")[0][0]
    assert 0 < peak < 1 << 30
    eventually(lambda: not list((tmp_path / "staging").iterdir()), within_seconds=5, what="the folders are gone")


@pytest.mark.usefixtures("dispatcher")
def test_a_long_log_arrives_whole_and_odd_bytes_are_shown(world: JobWorld) -> None:
    job_id = world.submit("log", lines=5000)
    assert over(world, job_id).state is JobState.SUCCEEDED
    text = world.log(job_id)
    assert [line for line in text.splitlines() if line.startswith("line ")] == [
        f"line {number} {'x' * 80}" for number in range(5000)
    ]
    assert "odd: \ufffd\ufffd end" in text
    assert "on stderr" in text


@pytest.mark.usefixtures("dispatcher")
def test_a_log_over_its_limit_is_cut_and_keeps_its_end(world: JobWorld) -> None:
    job_id = world.submit("log", lines=120_000)
    assert over(world, job_id, 90).state is JobState.SUCCEEDED
    text = world.log(job_id)
    assert len(text) < 9 << 20
    assert "bytes were dropped here" in text
    assert text.rstrip().endswith("on stderr")


@pytest.mark.usefixtures("dispatcher")
def test_malformed_events_are_named_in_the_log_and_harm_nothing(world: JobWorld) -> None:
    job_id = world.submit("metrics")
    job = over(world, job_id)
    assert job.state is JobState.SUCCEEDED
    assert job.result is not None
    assert job.result["metric_events"] == 1001
    assert job.progress.fraction == 1.0
    assert job.progress.message == "nul \ufffd inside"
    text = world.log(job_id)
    assert "a metric's name" in text
    assert "unknown event 'dance'" in text
    assert "what is no event" in text


@pytest.mark.usefixtures("dispatcher")
@pytest.mark.parametrize(
    ("do", "error_class", "reason", "message"),
    [
        ("raise", ErrorClass.USER, "raised", "RuntimeError: no such luck"),
        ("exit", ErrorClass.USER, "exited", "status 3"),
        ("nothing", ErrorClass.USER, "no_result", "without giving a result"),
        ("told", ErrorClass.USER, "constant_target", "never changes"),
        ("crash", ErrorClass.USER, "crashed", "SIGSEGV"),
        ("full", ErrorClass.SYSTEM, "disk_full", "disk full"),
    ],
)
def test_a_bad_end_is_classified(world: JobWorld, do: str, error_class: ErrorClass, reason: str, message: str) -> None:
    job_id = world.submit(do, max_attempts=1)
    job = over(world, job_id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert (job.error.error_class, job.error.reason) == (error_class, reason)
    assert message in job.error.message
    assert world.marks(job_id) == [(1, f"failed {reason}")]
    if do == "raise":
        assert job.error.traceback is not None
        assert "job_children.py" in job.error.traceback


@pytest.mark.usefixtures("dispatcher")
def test_a_job_over_its_time_is_ended_with_all_that_it_started(world: JobWorld, forkserver: Forkserver) -> None:
    job_id = world.submit("hang", timeout_seconds=2)
    job = over(world, job_id)
    assert job.error is not None
    assert job.error.reason == "timed_out"
    assert "2 s" in job.error.message
    assert no_children_left(forkserver)


@pytest.mark.usefixtures("dispatcher")
def test_a_system_error_while_preparing_is_tried_again(world: JobWorld, play: PlayHandler) -> None:
    play.fail_prepare_times = 1
    job_id = world.submit()
    job = over(world, job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    assert world.outcomes(job_id) == ["failed", "succeeded"]


def test_a_cancel_ends_the_process_group_at_once(
    world: JobWorld, dispatcher: Dispatcher, forkserver: Forkserver
) -> None:
    job_id = world.submit("hang")
    eventually(lambda: world.get(job_id).progress.message == "hanging", within_seconds=20, what="it hangs")
    assert world.cancel(job_id).cancel_requested
    dispatcher.ring(job_id)
    assert over(world, job_id, 5).state is JobState.CANCELLED
    assert no_children_left(forkserver)
    assert world.marks(job_id) == []
    assert world.cancel(job_id).state is JobState.CANCELLED


def test_a_stopping_worker_gives_its_job_back_and_the_next_one_finishes_it(
    world: JobWorld, dispatcher: Dispatcher, signs: Path, forkserver: Forkserver
) -> None:
    job_id = world.submit("wait_for_file", sign=str(signs / "go"), max_attempts=1)
    at_half(world, job_id)
    dispatcher.stop(0)
    job = world.get(job_id)
    assert (job.state, job.attempt, job.error) == (JobState.QUEUED, 1, None)
    assert world.outcomes(job_id) == ["released"]
    assert no_children_left(forkserver)


def test_a_worker_that_lost_its_lease_kills_its_child_and_writes_nothing(
    world: JobWorld, dispatcher: Dispatcher, signs: Path, forkserver: Forkserver
) -> None:
    job_id = world.submit("wait_for_file", sign=str(signs / "go"))
    at_half(world, job_id)
    with world.database.transaction(EVERYTHING) as session:
        ready = leases.next_ready(session, world.service.handlers)
        assert ready is None
    world.sql("UPDATE jobs SET attempt = 2, lease_owner = 'other' WHERE id = :id RETURNING 1", id=job_id)
    dispatcher.ring(job_id)
    eventually(lambda: dispatcher.running_count == 0, within_seconds=10, what="the attempt is dropped")
    assert no_children_left(forkserver)
    assert world.get(job_id).state is JobState.RUNNING
    assert world.marks(job_id) == []


def test_the_death_of_the_forkserver_costs_an_attempt_and_not_the_worker(
    world: JobWorld, dispatcher: Dispatcher, forkserver: Forkserver, signs: Path
) -> None:
    sign = signs / "go"
    job_id = world.submit("wait_for_file", sign=str(sign))
    at_half(world, job_id)
    os.kill(forkserver.pid, 9)
    eventually(lambda: world.get(job_id).attempt == 2, within_seconds=20, what="attempt 2")
    sign.touch()
    job = over(world, job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    assert world.outcomes(job_id) == ["failed", "succeeded"]
    assert dispatcher.running_count <= 1


def test_folders_that_no_attempt_stands_behind_are_swept(world: JobWorld, staging: StagingArea, tmp_path: Path) -> None:
    root = tmp_path / "staging"
    job_id = world.submit()
    for name in (f"{job_id}/1", f"{uuid7()}/3", "not-ours/keep"):
        (root / name / "outputs").mkdir(parents=True)
    world.sql("UPDATE jobs SET state = 'running', attempt = 1 WHERE id = :id RETURNING 1", id=job_id)

    def running(ids: list[UUID]) -> set[tuple[UUID, int]]:
        with world.database.transaction(EVERYTHING) as session:
            return leases.running(session, ids)

    assert staging.sweep(running) == 1
    assert sorted(path.name for path in root.iterdir()) == sorted([str(job_id), "not-ours"])


def no_children_left(forkserver: Forkserver) -> bool:
    """Whether the forkserver, to which orphans fall, has no child any more."""
    return eventually(
        lambda: not psutil.Process(forkserver.pid).children(recursive=True),
        within_seconds=15,
        what="no process of the job is left",
    )
