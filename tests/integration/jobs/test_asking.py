"""What people ask of jobs: retry, list, follow the log; on a real PostgreSQL, without any child."""

import pytest
from tests.support.jobs import CountingDoorbell, JobWorld

from carrara.contracts.jobs import ErrorClass, JobError, JobKind, JobState
from carrara.jobs import leases
from carrara.kernel.errors import Conflict, Invalid, NotFound
from carrara.kernel.ids import uuid7
from carrara.persistence.database import Scope

USER = JobError(error_class=ErrorClass.USER, reason="raised", message="raised")


def test_retry_makes_a_new_job_and_leaves_the_old_one_as_it_ended(world: JobWorld) -> None:
    job_id = world.submit(note="kept")
    with pytest.raises(Conflict, match="queued"), world.database.transaction(world.scope) as session:
        world.service.retry(session, world.project.id, world.actor, job_id)
    world.end(world.must_claim(), USER)
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
    world.end(world.must_claim())
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
    job = world.must_claim()
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
    world.end(job)
    with world.database.transaction(world.scope) as session:
        log = world.service.logs(session, world.project.id, job_id, "1.2")
        assert (log.items, log.is_complete) == ([], True)
