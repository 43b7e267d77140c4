"""What a worker process is made of, whichever kinds of job it runs: the table, the doorbells, the forkserver."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from carrara.jobs.attempts import Handlers
from carrara.jobs.celery_queue import CeleryConsumer
from carrara.jobs.dispatcher import Dispatcher, WorkerSettings
from carrara.jobs.runner import ChildRules, Runner
from carrara.jobs.staging import StagingArea
from carrara.jobs.store import NOTIFY_CHANNEL
from carrara.jobs.sweeping import Sweeper
from carrara.kernel.clock import SystemClock
from carrara.kernel.config import Settings
from carrara.kernel.telemetry import configure_logging
from carrara.persistence.database import Database
from carrara.persistence.listener import Listener
from carrara.sandbox.client import Forkserver
from carrara.sandbox.domain import Level

_CELERY_STOP_SECONDS = 2.0
_log = logging.getLogger(__name__)


class Worker:
    """Everything that a worker process runs. The broker may come and go: nothing here waits for it."""

    def __init__(self, settings: Settings, handlers: Handlers, preload: Sequence[str]) -> None:
        clock = SystemClock()
        data_dir = settings.data_dir.absolute()
        url = settings.required("database_url")
        self._drain_seconds = settings.worker_drain_seconds
        self._database = Database(url, pool_size=settings.worker_slots * 2 + 4)
        staging = StagingArea(data_dir / "staging")
        self._forkserver = Forkserver.start(preload, runtime_dir=data_dir / "sandbox")
        runner = Runner(self._database, handlers, self._forkserver, staging, rules=_rules(settings), clock=clock)
        name = f"worker-{os.getpid()}@{socket.gethostname()}"
        self._dispatcher = Dispatcher(
            self._database,
            handlers,
            runner.run,
            settings=WorkerSettings(
                name=name,
                slots=settings.worker_slots,
                lease_seconds=settings.lease_seconds,
                heartbeat_seconds=settings.heartbeat_seconds,
                poll_seconds=settings.poll_seconds,
            ),
            clock=clock,
        )
        self._sweeper = Sweeper(self._database, staging)
        self._listener = Listener(url, NOTIFY_CHANNEL, self._dispatcher.hear)
        self._celery: CeleryConsumer | None = None
        if settings.redis_url is not None:
            redis_url = settings.redis_url.get_secret_value()
            self._celery = CeleryConsumer(
                redis_url, name=name, slots=settings.worker_slots, heard=self._dispatcher.ring
            )

    def start(self) -> None:
        """From here on jobs run."""
        self._sweeper.start()
        self._dispatcher.start()
        self._listener.start()
        if self._celery is not None:
            self._celery.start()

    def stop(self) -> None:
        """Running jobs get a moment to end, then go back to the queue without losing an attempt."""
        with ThreadPoolExecutor() as pool:
            pool.submit(self._listener.stop)
            pool.submit(self._sweeper.stop)
            if self._celery is not None:
                pool.submit(self._celery.stop, _CELERY_STOP_SECONDS)
            self._dispatcher.stop(self._drain_seconds)
        self._forkserver.close()
        self._database.close()


def serve(settings: Settings, handlers: Handlers, preload: Sequence[str]) -> None:
    """Runs jobs of these kinds until SIGTERM or SIGINT. To be called from the main thread."""
    configure_logging("worker", settings.log_level)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    worker = Worker(settings, handlers, preload)
    worker.start()
    _log.info("ready for %s, %d at once", ", ".join(sorted(handlers)), settings.worker_slots)
    stopping.wait()
    _log.info("stopping")
    worker.stop()


def _rules(settings: Settings) -> ChildRules:
    address = urlsplit(settings.platform_url)
    port = address.port or (443 if address.scheme == "https" else 80)
    return ChildRules(
        level=None if settings.sandbox_level == "auto" else Level(settings.sandbox_level),
        timeout_seconds=settings.job_timeout_seconds,
        memory_bytes=settings.job_memory_bytes,
        processes=settings.job_processes,
        disk_bytes=settings.job_disk_bytes,
        max_timeout_seconds=settings.job_max_timeout_seconds,
        platform_address=(address.hostname, port) if address.hostname else None,
    )
