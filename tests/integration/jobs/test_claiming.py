"""Claims, fences and endings on a real PostgreSQL, without any child."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text
from tests.support.jobs import CountingDoorbell, JobWorld, PlayHandler

from carrara.contracts.jobs import ErrorClass, JobError, JobKind, JobProgress, JobState
from carrara.jobs import attempts, leases
from carrara.jobs.attempts import Ending
from carrara.jobs.ports import ClaimedJob
from carrara.kernel.errors import Conflict, Invalid, NotFound
from carrara.kernel.ids import uuid7
from carrara.persistence.database import EVERYTHING, Scope

SYSTEM = JobError(error_class=ErrorClass.SYSTEM, reason="worker_killed", message="killed")
USER = JobError(error_class=ErrorClass.USER, reason="raised", message="raised")


def claim(world: JobWorld, *, worker: str = "w1", lease_seconds: float = 30.0) -> ClaimedJob | None:
    with world.database.transaction(EVERYTHING) as session:
        return attempts.claim(session, world.service.handlers, worker=worker, lease_seconds=lease_seconds)


def must_claim(world: JobWorld, *, lease_seconds: float = 30.0) -> ClaimedJob:
    job = claim(world, lease_seconds=lease_seconds)
    assert job is not None
    return job


def expire(world: JobWorld, job: ClaimedJob) -> None:
    world.sql("UPDATE jobs SET ready_at = now() - interval '1 second' WHERE id = :id RETURNING 1", id=job.id)


def end(world: JobWorld, job: ClaimedJob, error: JobError | None = None) -> Ending:
    handler = world.service.handlers[JobKind.TRAIN]
    with world.database.transaction(Scope(job.project_id, job.submitted_by)) as session:
        if error is None:
            return attempts.succeed(session, job, handler, {"rows": 1}, peak_memory_bytes=1)
        return attempts.fail(session, job, handler, error)


def test_of_four_workers_every_job_goes_to_exactly_one(world: JobWorld) -> None:
    submitted = {world.submit() for _ in range(200)}

    def work(name: str) -> list[ClaimedJob]:
        mine = []
        while job := claim(world, worker=name):
            mine.append(job)
            assert end(world, job) is Ending.SUCCEEDED
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
    assert [must_claim(world).id for _ in range(3)] == [urgent, first, second]
    assert claim(world) is None


def test_a_job_of_another_kind_or_of_a_newer_platform_is_left_to_others(world: JobWorld) -> None:
    world.sql("UPDATE jobs SET schema_version = 99 WHERE id = :id RETURNING 1", id=world.submit())
    world.sql("UPDATE jobs SET kind = 'evaluate' WHERE id = :id RETURNING 1", id=world.submit())
    assert claim(world) is None


def test_an_expired_lease_gives_the_job_to_another_attempt_and_fences_the_first_off(world: JobWorld) -> None:
    job_id = world.submit()
    first = must_claim(world)
    expire(world, first)
    second = must_claim(world)

    assert (second.id, second.attempt) == (job_id, 2)
    assert first.token != second.token
    with world.database.transaction(world.scope) as session:
        assert leases.renew(session, first, 30) is None
        assert not leases.set_progress(session, first, JobProgress(message="zombie"))
        assert not leases.append_log(session, first, uuid7(), 0, "zombie")
        assert leases.renew(session, second, 30) is False
    assert end(world, first) is Ending.LOST
    assert end(world, first, USER) is Ending.LOST
    assert end(world, second) is Ending.SUCCEEDED
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
    lost = must_claim(world)
    expire(world, lost)
    assert must_claim(world).id == other

    job = world.get(job_id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert (job.error.error_class, job.error.reason) == (ErrorClass.SYSTEM, "worker_lost")
    assert world.marks(job_id) == [(1, "failed worker_lost")]
    assert world.outcomes(job_id) == ["lost"]
    assert end(world, lost) is Ending.LOST


def test_a_handler_that_cannot_record_a_failure_does_not_block_the_queue(
    world: JobWorld, play: PlayHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = world.submit(max_attempts=1), world.submit()
    lost = must_claim(world)
    expire(world, lost)
    monkeypatch.setattr(PlayHandler, "record_failure", lambda self, session, job, error: session.execute(text("oops")))
    assert must_claim(world).id == good
    assert world.get(bad).state is JobState.FAILED


def test_a_process_that_runs_no_jobs_can_put_lost_ones_back(world: JobWorld) -> None:
    again, over = world.submit(), world.submit(max_attempts=1)
    for job in [must_claim(world), must_claim(world)]:
        expire(world, job)
    with world.database.transaction(EVERYTHING) as session:
        while attempts.expire_one(session, world.service.handlers):
            pass
    assert world.get(again).state is JobState.QUEUED
    assert world.get(over).state is JobState.FAILED
    assert must_claim(world).attempt == 2


def test_a_system_error_is_tried_again_later_and_a_user_error_is_not(world: JobWorld) -> None:
    job_id = world.submit(max_attempts=2)
    assert end(world, must_claim(world), SYSTEM) is Ending.REQUEUED
    assert world.get(job_id).state is JobState.QUEUED
    assert claim(world) is None, "it waits before it starts again"
    world.sql("UPDATE jobs SET ready_at = now() WHERE id = :id RETURNING 1", id=job_id)
    assert end(world, must_claim(world), SYSTEM) is Ending.FAILED

    other = world.submit(max_attempts=5)
    assert end(world, must_claim(world), USER) is Ending.FAILED
    assert world.get(other).state is JobState.FAILED
    assert world.outcomes(other) == ["failed"]
    assert world.marks(other) == [(1, "failed raised")]


def test_a_planned_stop_costs_no_attempt(world: JobWorld) -> None:
    job_id = world.submit(max_attempts=1)
    job = must_claim(world)
    with world.database.transaction(world.scope) as session:
        assert attempts.release(session, job) is Ending.REQUEUED
    assert world.outcomes(job_id) == ["released"]
    again = must_claim(world)
    assert again.attempt == 2
    assert end(world, again) is Ending.SUCCEEDED


def test_what_a_handler_raises_while_it_records_leaves_nothing_behind(
    world: JobWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = world.submit()
    job = must_claim(world)
    recorded = PlayHandler.record

    def record_and_raise(self: PlayHandler, *arguments: Any) -> None:
        recorded(self, *arguments)
        raise Conflict("the model is gone")

    monkeypatch.setattr(PlayHandler, "record", record_and_raise)
    with pytest.raises(Conflict):
        end(world, job)
    assert world.get(job_id).state is JobState.RUNNING
    assert world.marks(job_id) == []


def test_a_queued_job_is_cancelled_at_once_and_a_second_cancel_says_the_same(world: JobWorld) -> None:
    job_id = world.submit()
    first, second = world.cancel(job_id), world.cancel(job_id)
    assert first == second
    assert first.state is JobState.CANCELLED
    assert claim(world) is None
    assert world.actions(job_id) == ["job.submitted", "job.cancelled"]


def test_a_cancel_that_was_answered_wins_over_a_result_that_was_not_committed(world: JobWorld) -> None:
    job_id = world.submit()
    job = must_claim(world)
    assert world.cancel(job_id).state is JobState.RUNNING
    with world.database.transaction(world.scope) as session:
        assert leases.renew(session, job, 30) is True
    assert end(world, job) is Ending.CANCELLED
    assert world.get(job_id).state is JobState.CANCELLED
    assert world.marks(job_id) == []
    assert world.cancel(job_id).state is JobState.CANCELLED


def test_cancelling_what_is_over_is_refused_each_time(world: JobWorld) -> None:
    job_id = world.submit()
    end(world, must_claim(world))
    for _ in range(2):
        with pytest.raises(Conflict, match="final"):
            world.cancel(job_id)


def test_a_cancelled_job_whose_worker_is_gone_ends_cancelled(world: JobWorld) -> None:
    job_id = world.submit()
    job = must_claim(world)
    world.cancel(job_id)
    expire(world, job)
    assert claim(world) is None
    assert world.get(job_id).state is JobState.CANCELLED
    assert world.outcomes(job_id) == ["lost"]


def test_a_job_token_is_good_only_while_its_attempt_holds_the_lease(world: JobWorld) -> None:
    job_id = world.submit()
    first = must_claim(world)

    def principal(token: str) -> leases.JobPrincipal | None:
        with world.database.transaction(EVERYTHING) as session:
            return leases.principal(session, attempts.hash_token(token))

    found = principal(first.token)
    assert found is not None
    assert (found.job_id, found.project_id, found.attempt) == (job_id, world.project.id, 1)
    assert principal("guessed") is None
    stored = world.sql("SELECT token_hash FROM job_attempts")[0][0]
    assert first.token not in stored
    expire(world, first)
    assert principal(first.token) is None
    second = must_claim(world)
    assert principal(first.token) is None
    end(world, second)
    assert principal(second.token) is None


def test_retry_makes_a_new_job_and_leaves_the_old_one_as_it_ended(world: JobWorld) -> None:
    job_id = world.submit(note="kept")
    with pytest.raises(Conflict, match="queued"), world.database.transaction(world.scope) as session:
        world.service.retry(session, world.project.id, world.actor, job_id)
    end(world, must_claim(world), USER)
    with world.database.transaction(world.scope) as session:
        again = world.service.retry(session, world.project.id, world.actor, job_id)
    assert again.id != job_id
    assert again.parent_job_id == job_id
    assert again.spec == {"do": "answer", "note": "kept"}
    assert again.state is JobState.QUEUED
    assert world.get(job_id).state is JobState.FAILED


def test_a_spec_that_its_kind_refuses_is_never_queued(world: JobWorld, doorbell: CountingDoorbell) -> None:
    with pytest.raises(Invalid, match=r"spec\.do"):
        world.submit("dance")
    assert world.sql("SELECT count(*) FROM jobs")[0][0] == 0
    assert doorbell.rung == []
    job_id = world.submit()
    assert doorbell.rung == [job_id]


def test_jobs_of_another_project_do_not_exist(world: JobWorld) -> None:
    job_id = world.submit()
    with world.database.transaction(Scope(uuid7())) as session, pytest.raises(NotFound):
        world.service.get(session, world.project.id, job_id)


def test_a_listing_is_newest_first_and_its_pages_join_up(world: JobWorld) -> None:
    submitted = [world.submit() for _ in range(7)]
    end(world, must_claim(world))
    seen, after = [], None
    while True:
        with world.database.transaction(world.scope) as session:
            page = world.service.list(session, world.project.id, limit=3, after=after)
        seen += [job.id for job in page.items]
        if page.next is None:
            break
        after = page.items[-1].id
    assert seen == submitted[::-1]
    with world.database.transaction(world.scope) as session:
        done = world.service.list(session, world.project.id, state=JobState.SUCCEEDED)
        none = world.service.list(session, world.project.id, kind=JobKind.EVALUATE)
    assert [job.id for job in done.items] == [submitted[0]]
    assert done.items[0].submitted_by == "ada-quarry"
    assert none.items == []


def test_a_log_is_followed_from_any_place(world: JobWorld) -> None:
    job_id = world.submit()
    job = must_claim(world)
    with world.database.transaction(world.scope) as session:
        for chunk, piece in enumerate(["a", "b", "c"]):
            assert leases.append_log(session, job, uuid7(), chunk, piece)
    with world.database.transaction(world.scope) as session:
        log = world.service.logs(session, world.project.id, job_id, "1.0")
        assert [chunk.text for chunk in log.items] == ["b", "c"]
        assert (log.next, log.is_complete) == ("1.2", False)
        for bad in ("x", "1", "1.2.3", "1." + "9" * 50, "a.b"):
            with pytest.raises(Invalid, match="after"):
                world.service.logs(session, world.project.id, job_id, bad)
    end(world, job)
    with world.database.transaction(world.scope) as session:
        log = world.service.logs(session, world.project.id, job_id, "1.2")
        assert (log.items, log.is_complete) == ([], True)
