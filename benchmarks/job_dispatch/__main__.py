"""From the call that submits a job to the first line of the user's code, beside Celery's own dispatch.

`python -m benchmarks.job_dispatch [--jobs 50]`, from the top folder. Real PostgreSQL (durable), real Valkey, the real
worker with its forkserver and its preload; each job runs alone on an idle platform.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.job_dispatch.worker import BARE_TASK
from celery import Celery
from tests.support.jobs import JobWorld, PlayHandler, make_world
from tests.support.valkey import ValkeyServer
from tests.support.waiting import eventually

from carrara.contracts.jobs import JobKind, JobState
from carrara.embedded.postgres import EmbeddedPostgres
from carrara.jobs.celery_queue import CeleryDoorbell
from carrara.jobs.service import JobService
from carrara.kernel.clock import SystemClock
from carrara.persistence.database import Database
from carrara.persistence.migrations import upgrade

_WARM_UP = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=50)
    jobs = parser.parse_args().jobs
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o711)
        with EmbeddedPostgres(home / "postgres") as postgres:
            upgrade(postgres.url)
            valkey = ValkeyServer(home / "valkey")
            valkey.start()
            try:
                ours = _measure_ours(postgres.url, valkey.url, home, jobs)
                bare = _measure_bare(valkey.url, home, jobs)
            finally:
                valkey.kill()
    _show("carrara: submit to user code, ms", ours)
    _show("bare Celery: send to task code, ms", bare)
    print(f"ratio of the medians: {statistics.median(ours) / statistics.median(bare):.1f}")


def _measure_ours(url: str, redis_url: str, home: Path, jobs: int) -> list[float]:
    environment = {
        "CARRARA_DATABASE_URL": url,
        "CARRARA_REDIS_URL": redis_url,
        "CARRARA_DATA_DIR": str(home / "data"),
    }
    database, doorbell = Database(url), CeleryDoorbell(redis_url, SystemClock())
    world = make_world(database, JobService({JobKind.TRAIN: PlayHandler()}, doorbell))
    with _process(["ours"], environment, home / "ours.log") as is_ready:
        eventually(lambda: is_ready("ready for"), within_seconds=120, what="the worker is ready")
        times = [_one_job(world) for _ in range(_WARM_UP + jobs)]
    doorbell.close()
    database.close()
    return times[_WARM_UP:]


def _one_job(world: JobWorld) -> float:
    began = time.time()
    job_id = world.submit("when")

    def is_over() -> bool:
        return world.get(job_id).state is JobState.SUCCEEDED

    eventually(is_over, within_seconds=30, what="the job is done", every_seconds=0.02)
    result = world.get(job_id).result
    assert result is not None
    return (float(result["answer"]) - began) * 1000


def _measure_bare(redis_url: str, home: Path, jobs: int) -> list[float]:
    folder = home / "bare"
    folder.mkdir()
    app = Celery("sender", broker=redis_url)
    app.conf.update(task_default_queue="bare", task_ignore_result=True)
    times = []
    with _process(["bare", redis_url, str(folder)], {}, home / "bare.log"):
        for number in range(_WARM_UP + jobs):
            began = time.time()
            app.send_task(BARE_TASK, args=[number])
            told = folder / str(number)
            eventually(told.exists, within_seconds=60, what="the task ran", every_seconds=0.01)
            times.append((float(told.read_text()) - began) * 1000)
    app.close()
    return times[_WARM_UP:]


@contextmanager
def _process(arguments: list[str], environment: dict[str, str], log_path: Path) -> Iterator[Callable[[str], bool]]:
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.job_dispatch.worker", *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield lambda text: text in log_path.read_text(errors="replace")
    finally:
        process.terminate()
        process.wait(30)


def _show(what: str, times: list[float]) -> None:
    ordered = sorted(times)
    p95 = ordered[int(len(ordered) * 0.95) - 1]
    print(f"{what}: n {len(times)}, median {statistics.median(times):.1f}, p95 {p95:.1f}, max {ordered[-1]:.1f}")


if __name__ == "__main__":
    main()
