"""Claims, fences and endings on a real PostgreSQL, without any child."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text
from tests.support.jobs import JobWorld, PlayHandler

from carrara.contracts.jobs import ErrorClass, JobError, JobProgress, JobState
from carrara.jobs import attempts, leases
from carrara.jobs.attempts import Ending
from carrara.jobs.ports import ClaimedJob
from carrara.kernel.errors import Conflict
from carrara.kernel.ids import uuid7
from carrara.persistence.database import EVERYTHING

SYSTEM = JobError(error_class=ErrorClass.SYSTEM, reason="worker_killed", message="killed")
USER = JobError(error_class=ErrorClass.USER, reason="raised", message="raised")


def test_of_four_workers_every_job_goes_to_exactly_one(world: JobWorld) -> None:
    submitted = {world.submit() for _ in range(200)}

    def work(name: str) -> list[ClaimedJob]:
        mine = []
        while job := world.claim(worker=name):
            mine.append(job)
            assert world.end(job) is Ending.SUCCEEDED
        return mine

    with ThreadPoolExecutor(4) as pool:
        done = [job for jobs in pool.map(work, "abcd") for job in jobs]

    assert len(done) == 200
    assert {job.id for job in done} == submitted
    assert {job.attempt for job in done} == {1}
    assert world.sql("SELECT count(*) FROM outbox WHERE kind = 'test.mark'")[0][0] == 200
    assert world.sql("SELECT DISTINCT state FROM jobs") == [("succeeded",)]


def test_a_claim_takes_the_highest_priority_and_then_the_oldest(world: JobWorld) -> None:
    first, second = world.submit(), world.submit()
    urgent = world.submit(priority=5)
    assert [world.must_claim().id for _ in range(3)] == [urgent, first, second]
    assert world.claim() is None


def test_a_job_of_another_kind_or_of_a_newer_platform_is_left_to_others(world: JobWorld) -> None:
    world.sql("UPDATE jobs SET schema_version = 99 WHERE id = :id RETURNING 1", id=world.submit())
    world.sql("UPDATE jobs SET kind = 'evaluate' WHERE id = :id RETURNING 1", id=world.submit())
    assert world.claim() is None


def test_an_expired_lease_gives_the_job_to_another_attempt_and_fences_the_first_off(world: JobWorld) -> None:
    job_id = world.submit()
    first = world.must_claim()
    world.expire(first)
    second = world.must_claim()

    assert (second.id, second.attempt) == (job_id, 2)
    assert first.token != second.token
    with world.database.transaction(world.scope) as session:
        assert leases.renew(session, first, 30) is None
        assert not leases.set_progress(session, first, JobProgress(message="zombie"))
        assert not leases.append_log(session, first, uuid7(), 0, "zombie")
        assert leases.renew(session, second, 30) is False
    assert world.end(first) is Ending.LOST
    assert world.end(first, USER) is Ending.LOST
    assert world.end(second) is Ending.SUCCEEDED
    assert world.marks(job_id) == [(2, "recorded")]
    assert world.outcomes(job_id) == ["lost", "succeeded"]
    assert world.log(job_id) == ""
    assert world.actions(job_id) == [
        "job.submitted",
        "job.started",
        "job.attempt_lost",
        "job.started",
        "job.succeeded",
    ]


def test_a_job_whose_attempts_are_used_up_fails_when_its_last_worker_is_gone(world: JobWorld) -> None:
    job_id, other = world.submit(max_attempts=1), world.submit()
    lost = world.must_claim()
    world.expire(lost)
    assert world.must_claim().id == other

    job = world.get(job_id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert (job.error.error_class, job.error.reason) == (ErrorClass.SYSTEM, "worker_lost")
    assert world.marks(job_id) == [(1, "failed worker_lost")]
    assert world.outcomes(job_id) == ["lost"]
    assert world.end(lost) is Ending.LOST


def test_a_handler_that_cannot_record_a_failure_does_not_block_the_queue(
    world: JobWorld, play: PlayHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = world.submit(max_attempts=1), world.submit()
    lost = world.must_claim()
    world.expire(lost)
    monkeypatch.setattr(PlayHandler, "record_failure", lambda self, session, job, error: session.execute(text("oops")))
    assert world.must_claim().id == good
    assert world.get(bad).state is JobState.FAILED


def test_a_process_that_runs_no_jobs_ends_dead_leases(world: JobWorld) -> None:
    again, over, cancelled = world.submit(), world.submit(max_attempts=1), world.submit()
    claimed = [world.must_claim() for _ in range(3)]
    world.cancel(cancelled)
    for job in claimed:
        world.expire(job)
    assert attempts.end_dead_leases(world.database, world.service.handlers, dead_seconds=0) == 3
    states = [world.get(job).state for job in (again, over, cancelled)]
    assert states == [JobState.QUEUED, JobState.FAILED, JobState.CANCELLED]
    assert world.marks(over) == [(1, "failed worker_lost")]
    assert world.get(again).attempt == 1
    assert [world.end(job) for job in claimed] == [Ending.LOST] * 3
    assert world.must_claim().attempt == 2


def test_a_lease_that_ran_out_just_now_is_left_to_its_worker(world: JobWorld) -> None:
    job = world.submit()
    world.expire(world.must_claim())
    assert attempts.end_dead_leases(world.database, world.service.handlers, dead_seconds=60) == 0
    assert world.get(job).state is JobState.RUNNING


def test_a_dead_lease_ends_also_where_nobody_knows_its_kind(world: JobWorld) -> None:
    over = world.submit(max_attempts=1)
    world.expire(world.must_claim())
    assert attempts.end_dead_leases(world.database, {}, dead_seconds=0) == 1
    assert world.get(over).state is JobState.FAILED


def test_a_log_chunk_that_is_written_again_replaces_itself(world: JobWorld) -> None:
    job_id = world.submit()
    job = world.must_claim()
    for piece in ("first", "first"):  # the commit was acknowledged into a cut connection
        with world.database.transaction(world.scope) as session:
            assert leases.append_log(session, job, uuid7(), 0, piece)
    assert world.log(job_id) == "first"


def test_a_system_error_is_tried_again_later_and_a_user_error_is_not(world: JobWorld) -> None:
    job_id = world.submit(max_attempts=2)
    assert world.end(world.must_claim(), SYSTEM) is Ending.REQUEUED
    assert world.get(job_id).state is JobState.QUEUED
    assert world.claim() is None, "it waits before it starts again"
    world.sql("UPDATE jobs SET ready_at = now() WHERE id = :id RETURNING 1", id=job_id)
    assert world.end(world.must_claim(), SYSTEM) is Ending.FAILED

    other = world.submit(max_attempts=5)
    assert world.end(world.must_claim(), USER) is Ending.FAILED
    assert world.get(other).state is JobState.FAILED
    assert world.outcomes(other) == ["failed"]
    assert world.marks(other) == [(1, "failed raised")]


def test_a_planned_stop_costs_no_attempt(world: JobWorld) -> None:
    job_id = world.submit(max_attempts=1)
    job = world.must_claim()
    with world.database.transaction(world.scope) as session:
        assert attempts.release(session, job) is Ending.REQUEUED
    assert world.outcomes(job_id) == ["released"]
    again = world.must_claim()
    assert again.attempt == 2
    assert world.end(again) is Ending.SUCCEEDED


def test_what_a_handler_raises_while_it_records_leaves_nothing_behind(
    world: JobWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = world.submit()
    job = world.must_claim()
    recorded = PlayHandler.record

    def record_and_raise(self: PlayHandler, *arguments: Any) -> None:
        recorded(self, *arguments)
        raise Conflict("the model is gone")

    monkeypatch.setattr(PlayHandler, "record", record_and_raise)
    with pytest.raises(Conflict):
        world.end(job)
    assert world.get(job_id).state is JobState.RUNNING
    assert world.marks(job_id) == []


def test_a_queued_job_is_cancelled_at_once_and_a_second_cancel_says_the_same(world: JobWorld) -> None:
    job_id = world.submit()
    first, second = world.cancel(job_id), world.cancel(job_id)
    assert first == second
    assert first.state is JobState.CANCELLED
    assert world.claim() is None
    assert world.actions(job_id) == ["job.submitted", "job.cancelled"]


def test_a_cancel_that_was_answered_wins_over_a_result_that_was_not_committed(world: JobWorld) -> None:
    job_id = world.submit()
    job = world.must_claim()
    assert world.cancel(job_id).state is JobState.RUNNING
    with world.database.transaction(world.scope) as session:
        assert leases.renew(session, job, 30) is True
    assert world.end(job) is Ending.CANCELLED
    assert world.get(job_id).state is JobState.CANCELLED
    assert world.marks(job_id) == []
    assert world.cancel(job_id).state is JobState.CANCELLED


def test_cancelling_what_is_over_is_refused_each_time(world: JobWorld) -> None:
    job_id = world.submit()
    world.end(world.must_claim())
    for _ in range(2):
        with pytest.raises(Conflict, match="final"):
            world.cancel(job_id)


def test_a_cancelled_job_whose_worker_is_gone_ends_cancelled(world: JobWorld) -> None:
    job_id = world.submit()
    job = world.must_claim()
    world.cancel(job_id)
    world.expire(job)
    assert world.claim() is None
    assert world.get(job_id).state is JobState.CANCELLED
    assert world.outcomes(job_id) == ["lost"]


def test_a_job_token_is_good_only_while_its_attempt_holds_the_lease(world: JobWorld) -> None:
    job_id = world.submit()
    first = world.must_claim()

    def principal(token: str) -> leases.JobPrincipal | None:
        with world.database.transaction(EVERYTHING) as session:
            return leases.principal(session, attempts.hash_token(token))

    found = principal(first.token)
    assert found is not None
    assert (found.job_id, found.project_id, found.attempt) == (job_id, world.project.id, 1)
    assert principal("guessed") is None
    stored = world.sql("SELECT token_hash FROM job_attempts")[0][0]
    assert first.token not in stored
    world.expire(first)
    assert principal(first.token) is None
    second = world.must_claim()
    assert principal(first.token) is None
    world.end(second)
    assert principal(second.token) is None
