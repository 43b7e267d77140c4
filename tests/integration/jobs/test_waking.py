"""How a worker hears that a job waits: by NOTIFY, and by a doorbell that never makes anybody wait for it."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.support.jobs import JobWorld, PlayHandler
from tests.support.valkey import ValkeyServer
from tests.support.waiting import eventually

from carrara.contracts.jobs import JobKind, JobState
from carrara.jobs.celery_queue import CeleryDoorbell
from carrara.jobs.dispatcher import Dispatcher, WorkerSettings
from carrara.jobs.runner import Runner
from carrara.jobs.store import NOTIFY_CHANNEL
from carrara.kernel.clock import SystemClock
from carrara.kernel.ids import JobId, uuid7
from carrara.persistence.database import Database
from carrara.persistence.listener import Listener

_END_LISTENERS = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")


@pytest.fixture
def patient(database: Database, play: PlayHandler, runner: Runner) -> Iterator[Dispatcher]:
    """A worker that would look by itself only every five minutes."""
    settings = WorkerSettings(name="patient", slots=1, lease_seconds=30, heartbeat_seconds=20, poll_seconds=300)
    dispatcher = Dispatcher(database, {JobKind.TRAIN: play}, runner.run, settings=settings, clock=SystemClock())
    dispatcher.start()
    yield dispatcher
    dispatcher.stop(0)


@pytest.fixture
def listening(database_url: str, patient: Dispatcher) -> Iterator[list[str | None]]:
    """What the worker was told by NOTIFY so far; its first entry says that it listens."""
    heard: list[str | None] = []

    def hear(payload: str | None) -> None:
        heard.append(payload)
        patient.hear(payload)

    listener = Listener(database_url, NOTIFY_CHANNEL, hear)
    listener.start()
    eventually(lambda: heard == [None], within_seconds=15, what="it listens")
    yield heard
    listener.stop()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path / "valkey")
    server.start()
    yield server
    server.kill()


def succeeds(world: JobWorld, job_id: JobId, within_seconds: float = 30) -> None:
    def is_over() -> bool:
        return world.get(job_id).state is JobState.SUCCEEDED

    eventually(is_over, within_seconds=within_seconds, what="the job is done")


def test_a_notify_alone_wakes_a_worker(world: JobWorld, listening: list[str | None]) -> None:
    job_id = world.submit()
    succeeds(world, job_id)
    assert str(job_id) in listening


def test_a_cancel_reaches_a_running_job_without_waiting_for_its_heartbeat(
    world: JobWorld, listening: list[str | None]
) -> None:
    job_id = world.submit("hang")
    eventually(lambda: world.get(job_id).progress.message == "hanging", within_seconds=20, what="it hangs")
    world.cancel(job_id)
    eventually(lambda: world.get(job_id).state is JobState.CANCELLED, within_seconds=10, what="it is cancelled")
    assert listening.count(str(job_id)) == 2


def test_a_listener_that_lost_its_connection_comes_back_and_looks(
    world: JobWorld, database: Database, listening: list[str | None]
) -> None:
    with database.engine.connect() as connection:
        connection.execute(_END_LISTENERS)
    eventually(lambda: listening.count(None) == 2, within_seconds=20, what="it listens again")
    succeeds(world, world.submit())


def test_a_doorbell_without_a_broker_says_so_and_rings_again_when_there_is_one(valkey: ValkeyServer) -> None:
    clock = SteppedClock()
    doorbell = CeleryDoorbell(valkey.url, clock)
    doorbell.ring(JobId(uuid7()))
    assert doorbell.last_error is None
    valkey.kill()
    doorbell.ring(JobId(uuid7()))
    assert "refused" in str(doorbell.last_error) or "closed" in str(doorbell.last_error)
    valkey.start()
    doorbell.ring(JobId(uuid7()))
    assert doorbell.last_error is not None, "it stays silent for a moment after a failure"
    clock.seconds += 10
    doorbell.ring(JobId(uuid7()))
    assert doorbell.last_error is None
    doorbell.close()


def test_a_ring_at_a_broker_that_hangs_takes_less_than_a_second(valkey: ValkeyServer) -> None:
    doorbell = CeleryDoorbell(valkey.url, SteppedClock())
    doorbell.ring(JobId(uuid7()))
    assert valkey.process is not None
    valkey.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    doorbell.ring(JobId(uuid7()))
    assert time.monotonic() - began < 1.0
    assert "imeout" in str(doorbell.last_error)
    valkey.process.send_signal(signal.SIGCONT)
    doorbell.close()


def test_a_ring_through_an_address_that_nobody_serves_fails_softly() -> None:
    doorbell = CeleryDoorbell("redis://:x@127.0.0.1:1/0", SystemClock())
    doorbell.ring(JobId(uuid7()))
    assert doorbell.last_error is not None
    assert ":x@" not in doorbell.last_error
    doorbell.close()


class SteppedClock(SystemClock):
    """Stands still until it is told."""

    seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds
