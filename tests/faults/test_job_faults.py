"""Jobs while processes die, freeze, and messages get lost or doubled (F01 to F09)."""

import contextlib
import signal
from pathlib import Path
from uuid import UUID

import psutil
import pytest
from tests.support.job_worker import WorkerProcess
from tests.support.jobs import JobWorld
from tests.support.valkey import ValkeyServer
from tests.support.waiting import eventually

from carrara.contracts.jobs import ErrorClass, JobState, JobView
from carrara.jobs import store
from carrara.jobs.celery_queue import CeleryDoorbell
from carrara.kernel.errors import Conflict
from carrara.kernel.ids import JobId

from .conftest import StartWorker

pytestmark = pytest.mark.faults
OVER = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


def over(world: JobWorld, job_id: UUID, within_seconds: float = 30) -> JobView:
    def look() -> JobView | None:
        job = world.get(job_id)
        return job if job.state in OVER else None

    found = eventually(look, within_seconds=within_seconds, what=f"job {job_id} is over")
    assert found is not None
    return found


def at_half(world: JobWorld, job_id: UUID, attempt: int = 1) -> None:
    wanted = f"attempt {attempt} at half"
    eventually(lambda: world.get(job_id).progress.message == wanted, within_seconds=30, what=wanted)


def below(worker: WorkerProcess) -> list[psutil.Process]:
    """Every process that the worker has started, directly or not."""
    return psutil.Process(worker.process.pid).children(recursive=True)


def kill_children(worker: WorkerProcess) -> None:
    """kill -9 of everything that the worker's forkserver has made."""
    forkserver = psutil.Process(worker.process.pid).children()[0]
    for process in forkserver.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # one may take the next with it
            process.kill()


def check_invariants(world: JobWorld) -> None:
    """I1, I2 and I7, for every job of this database."""
    stuck = "SELECT id FROM jobs WHERE state = 'running' AND ready_at < now() - interval '30 seconds'"
    assert world.sql(stuck) == []
    doubled = (
        "SELECT payload->>'job', count(*) FROM outbox WHERE kind = 'test.mark' AND payload->>'what' = 'recorded'"
        " GROUP BY 1 HAVING count(*) > 1"
    )
    assert world.sql(doubled) == []
    unmarked = (
        "SELECT id FROM jobs j WHERE state = 'succeeded' AND (SELECT count(*) FROM audit_records a"
        " WHERE a.subject_id = j.id::text AND a.action = 'job.succeeded') <> 1"
    )
    assert world.sql(unmarked) == []


def test_fault_f01_train_child_kill9(world: JobWorld, start_worker: StartWorker, signs: Path) -> None:
    worker = start_worker()
    job_id = world.submit("first_waits", sign=str(signs / "never"))
    at_half(world, job_id)
    kill_children(worker)

    job = over(world, job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    assert world.outcomes(job_id) == ["failed", "succeeded"]
    reason = world.sql("SELECT error->>'reason' FROM job_attempts WHERE attempt = 1")[0][0]
    assert reason == "worker_killed"
    assert world.marks(job_id) == [(2, "recorded")]
    check_invariants(world)


def test_fault_f01_train_child_kill9_on_its_last_attempt(
    world: JobWorld, start_worker: StartWorker, signs: Path
) -> None:
    worker = start_worker()
    job_id = world.submit("first_waits", sign=str(signs / "never"), max_attempts=1)
    at_half(world, job_id)
    kill_children(worker)
    job = over(world, job_id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert (job.error.error_class, job.error.reason) == (ErrorClass.SYSTEM, "worker_killed")
    check_invariants(world)


def test_fault_f02_worker_parent_kill9(world: JobWorld, start_worker: StartWorker, signs: Path, tmp_path: Path) -> None:
    first = start_worker()
    job_id = world.submit("first_waits", sign=str(signs / "never"))
    at_half(world, job_id)
    left = below(first)
    first.kill()
    start_worker()

    job = over(world, job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    assert world.outcomes(job_id) == ["lost", "succeeded"]
    eventually(lambda: not any(process.is_running() for process in left), within_seconds=15, what="its children died")
    start_worker()  # sweeps as it starts
    staging = tmp_path / "data" / "staging"
    eventually(lambda: not list(staging.iterdir()), within_seconds=15, what="what attempt 1 left is swept")
    check_invariants(world)


def test_fault_f03_redis_restart_loses_messages(
    world: JobWorld, start_worker: StartWorker, valkey: ValkeyServer
) -> None:
    jobs = [world.submit() for _ in range(20)]
    valkey.flush()
    valkey.kill()
    workers = [start_worker(ready=False) for _ in range(2)]
    valkey.start()
    for worker in workers:
        worker.until_ready()
    assert {over(world, job_id, 60).state for job_id in jobs} == {JobState.SUCCEEDED}
    assert {world.get(job_id).attempt for job_id in jobs} == {1}
    check_invariants(world)


def test_fault_f04_duplicate_delivery(
    world: JobWorld, start_worker: StartWorker, doorbell: CeleryDoorbell, signs: Path
) -> None:
    workers = [start_worker(poll_seconds=60, worker_slots=1, ready=False) for _ in range(4)]
    for worker in workers:
        worker.until_ready()
    job_id = world.submit("wait_for_file", sign=str(signs / "go"))
    at_half(world, job_id)
    for _ in range(50):
        doorbell.ring(job_id)
    assert doorbell.last_error is None
    (signs / "go").touch()
    assert over(world, job_id).state is JobState.SUCCEEDED
    for _ in range(50):
        doorbell.ring(job_id)
    other = world.submit()
    assert over(world, other).state is JobState.SUCCEEDED
    assert (world.get(job_id).attempt, world.outcomes(job_id)) == (1, ["succeeded"])
    assert world.marks(job_id) == [(1, "recorded")]
    check_invariants(world)


def test_a_ring_alone_wakes_a_worker(world: JobWorld, start_worker: StartWorker, doorbell: CeleryDoorbell) -> None:
    start_worker(poll_seconds=300)
    assert over(world, silently_queued(world, doorbell), 15).state is JobState.SUCCEEDED


def silently_queued(world: JobWorld, doorbell: CeleryDoorbell) -> JobId:
    """A job that became ready without a NOTIFY, and was rung for through Redis."""
    columns = {"kind": "train", "spec": {"do": "answer"}, "state": "queued", "max_attempts": 1}
    with world.database.transaction(world.scope) as session:
        job_id = store.insert(session, world.project.id, world.actor.id, **columns)
    eventually(lambda: doorbell.check() is None, within_seconds=10, what="the broker is there")
    doorbell.ring(job_id)
    return job_id


def test_fault_f05_zombie_attempt(world: JobWorld, start_worker: StartWorker, signs: Path, tmp_path: Path) -> None:
    zombie = start_worker()
    job_id = world.submit("first_waits", sign=str(signs / "go"))
    at_half(world, job_id)
    zombie.signal(signal.SIGSTOP)
    start_worker(data_dir=tmp_path / "other-machine")
    job = over(world, job_id)
    assert job.attempt == 2
    (signs / "go").touch()  # the child of attempt 1 has its result, and its worker wakes up
    zombie.signal(signal.SIGCONT)
    eventually(lambda: "attempt 1 of job" in zombie.log(), within_seconds=20, what="the zombie has ended its attempt")

    assert f"attempt 1 of job {job_id}: lost" in zombie.log()
    assert world.get(job_id) == job
    assert job.result is not None
    assert (job.state, job.result["attempt"]) == (JobState.SUCCEEDED, 2)
    assert world.marks(job_id) == [(2, "recorded")]
    assert world.outcomes(job_id) == ["lost", "succeeded"]
    check_invariants(world)


def test_fault_f06_redis_reset_mid_consume(
    world: JobWorld, start_worker: StartWorker, valkey: ValkeyServer, doorbell: CeleryDoorbell
) -> None:
    worker = start_worker(poll_seconds=300)
    assert over(world, silently_queued(world, doorbell)).state is JobState.SUCCEEDED
    for _ in range(5):
        valkey.kill()
        valkey.start()
    jobs = [world.submit() for _ in range(5)]
    assert {over(world, job_id, 20).state for job_id in jobs} == {JobState.SUCCEEDED}
    assert over(world, silently_queued(world, doorbell), 30).state is JobState.SUCCEEDED, "Celery is back as well"
    assert worker.process.poll() is None
    check_invariants(world)


def test_fault_f07_redis_down(
    world: JobWorld, start_worker: StartWorker, valkey: ValkeyServer, doorbell: CeleryDoorbell
) -> None:
    valkey.kill()
    start_worker()
    jobs = [world.submit() for _ in range(5)]
    assert {over(world, job_id).state for job_id in jobs} == {JobState.SUCCEEDED}
    assert doorbell.last_error is not None
    valkey.start()
    assert doorbell.check() is None
    assert doorbell.last_error is None
    check_invariants(world)


def test_fault_f08_job_oom(world: JobWorld, start_worker: StartWorker, signs: Path) -> None:
    start_worker(worker_slots=2)
    neighbour = world.submit("wait_for_file", sign=str(signs / "go"))
    at_half(world, neighbour)
    job = over(world, world.submit("allocate"))
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert (job.error.error_class, job.error.reason) == (ErrorClass.USER, "out_of_memory")
    assert job.error.facts["limit_bytes"] == 512 << 20
    assert job.error.facts["peak_memory_bytes"] > 256 << 20
    assert job.attempt == 1
    (signs / "go").touch()
    assert over(world, neighbour).state is JobState.SUCCEEDED
    check_invariants(world)


def test_fault_f09_cancel_races(world: JobWorld, start_worker: StartWorker, signs: Path) -> None:
    queued = world.submit()
    assert world.cancel(queued).state is JobState.CANCELLED

    worker = start_worker(worker_slots=2)
    forkserver = psutil.Process(worker.process.pid).children()[0]
    hanging = world.submit("hang")
    eventually(lambda: world.get(hanging).progress.message == "hanging", within_seconds=20, what="it hangs")
    world.cancel(hanging)
    assert over(world, hanging, 15).state is JobState.CANCELLED
    eventually(lambda: not forkserver.children(recursive=True), within_seconds=15, what="the process group is gone")
    assert world.cancel(hanging).state is JobState.CANCELLED

    racing = [world.submit() for _ in range(30)]
    answered = [cancelled_in_time(world, job_id) for job_id in racing]
    for job_id, was_answered in zip(racing, answered, strict=True):
        job = over(world, job_id)
        assert job.state is (JobState.CANCELLED if was_answered else JobState.SUCCEEDED)
        assert cancelled_in_time(world, job_id) is was_answered, "a second cancel gives the same answer"
        assert len(world.marks(job_id)) == (0 if was_answered else 1)
    check_invariants(world)


def cancelled_in_time(world: JobWorld, job_id: JobId) -> bool:
    """Whether a cancel was accepted; False if the job was over before."""
    try:
        world.cancel(job_id)
    except Conflict:
        return False
    return True


@pytest.mark.parametrize("place", ["job.claimed", "job.prepared", "job.child_ended", "job.published", "job.committed"])
def test_a_worker_killed_after_any_durable_step_loses_and_doubles_nothing(
    world: JobWorld, start_worker: StartWorker, place: str
) -> None:
    doomed = start_worker(crashpoint=place)
    job_id = world.submit()
    assert doomed.process.wait(30) == -signal.SIGKILL
    start_worker()
    job = over(world, job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1 if place == "job.committed" else 2)
    assert world.marks(job_id) == [(job.attempt, "recorded")]
    check_invariants(world)


def test_a_worker_stops_within_seconds_and_leaves_no_process(
    world: JobWorld, start_worker: StartWorker, signs: Path
) -> None:
    worker = start_worker()
    job_id = world.submit("wait_for_file", sign=str(signs / "go"))
    at_half(world, job_id)
    left = below(worker)
    worker.signal(signal.SIGTERM)
    assert worker.process.wait(20) == 0
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in left)
    assert world.get(job_id).state is JobState.QUEUED
    assert world.outcomes(job_id) == ["released"]
