"""Real workers, a real Postgres and a real Valkey, for tests that kill them."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.job_worker import WorkerProcess
from tests.support.jobs import JobWorld, PlayHandler, make_world
from tests.support.valkey import ValkeyServer

from carrara.contracts.jobs import JobKind
from carrara.jobs.celery_queue import CeleryDoorbell
from carrara.jobs.service import JobService
from carrara.kernel.clock import SystemClock
from carrara.persistence.database import Database

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path / "valkey")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def signs(tmp_path: Path) -> Path:
    """A folder that children can see, for tests to tell them something."""
    folder = tmp_path / "signs"
    folder.mkdir()
    return folder


@pytest.fixture
def doorbell(valkey: ValkeyServer) -> Iterator[CeleryDoorbell]:
    doorbell = CeleryDoorbell(valkey.url, SystemClock())
    yield doorbell
    doorbell.close()


@pytest.fixture
def world(database: Database, doorbell: CeleryDoorbell) -> JobWorld:
    return make_world(database, JobService({JobKind.TRAIN: PlayHandler()}, doorbell))


@pytest.fixture
def start_worker(database_url: str, valkey: ValkeyServer, signs: Path, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts a worker with short leases; what differs is given as settings. All are gone after the test."""
    started: list[WorkerProcess] = []

    def start(*, ready: bool = True, **settings: object) -> WorkerProcess:
        chosen = {
            "database_url": database_url,
            "redis_url": valkey.url,
            "data_dir": tmp_path / "data",
            "test_signs": signs,
            "lease_seconds": 3,
            "heartbeat_seconds": 0.5,
            "poll_seconds": 0.5,
            "worker_drain_seconds": 0,
            **settings,
        }
        environment = {f"CARRARA_{name.upper()}": str(value) for name, value in chosen.items()}
        worker = WorkerProcess(environment, tmp_path / f"worker-{len(started)}.log")
        worker.start()
        started.append(worker)
        if ready:
            worker.until_ready()
        return worker

    yield start
    for worker in started:
        with contextlib.suppress(ProcessLookupError):
            worker.signal(18)  # SIGCONT: a frozen one could not be waited for
        worker.kill()
