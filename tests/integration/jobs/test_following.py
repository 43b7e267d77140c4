"""What must follow a job and cannot: the job tells of it."""

import pytest
from tests.support.jobs import JobWorld

from carrara.contracts.jobs import FollowUpError
from carrara.persistence import outbox
from carrara.persistence.database import Scope


@pytest.mark.parametrize("failures", [1, outbox.MAX_FAILURES])
def test_a_job_tells_why_what_follows_it_is_not_there(world: JobWorld, failures: int) -> None:
    job_id, other = world.submit(), world.submit()
    with world.database.transaction(Scope(world.project.id)) as session:
        outbox.enqueue(session, world.project.id, "k", {"job_id": str(job_id)})

    def fail(_: outbox.Message) -> None:
        raise RuntimeError("the model has no name")

    assert world.get(job_id).follow_up_error is None
    for _ in range(failures):
        world.sql("UPDATE outbox SET ready_at = now() RETURNING 1")
        with pytest.raises(RuntimeError):
            outbox.deliver_next(world.database, {"k": fail})
    expected = FollowUpError(message="RuntimeError: the model has no name", given_up=failures == outbox.MAX_FAILURES)
    assert world.get(job_id).follow_up_error == expected
    assert world.get(other).follow_up_error is None

    world.sql("UPDATE outbox SET ready_at = now(), failed_at = NULL RETURNING 1")
    assert outbox.deliver_next(world.database, {"k": lambda _: None})
    assert world.get(job_id).follow_up_error is None
