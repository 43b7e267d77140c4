"""Celery over Redis as a doorbell: a message holds a job's id and nothing else, and losing it loses no job.

The broker never decides who runs what: a message that arrives twice, late or not at all only changes when a worker
looks into the table. So the task is short and acknowledged at once, whatever the job it rings for takes.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

from celery import Celery
from celery.worker import state as celery_state

from carrara.jobs.ports import Doorbell
from carrara.kernel.clock import Clock
from carrara.kernel.ids import JobId

RING_TASK = "carrara.jobs.ring"
TASK_MODULES = ("carrara_workers.tasks.jobs",)
QUEUE = "carrara-jobs"
_SOCKET_SECONDS = 0.2  # at most two waits a ring, to connect and to be answered: under half a second together
_QUIET_SECONDS = 5.0
_RING_LIVES_SECONDS = 300
_RESTART_SECONDS = 5.0
_SHARED: dict[str, Any] = {
    "task_default_queue": QUEUE,
    "task_ignore_result": True,
    "task_serializer": "json",
    "accept_content": ["json"],
    "enable_utc": True,
    "task_store_errors_even_if_ignored": False,
    "worker_send_task_events": False,
}
_log = logging.getLogger(__name__)

Heard = Callable[[UUID], None]


def make_celery(redis_url: str) -> Celery:
    """The Celery app that workers consume with, and that `celery -A carrara_workers.app` inspects."""
    app = Celery("carrara", broker=redis_url, include=TASK_MODULES, set_as_current=False)
    app.conf.update(
        **_SHARED,
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_connect_timeout": 2.0,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "unacked_restore_throttle": 1,  # with kombu's 10, what a dead worker held came back after 100 s
        },
    )
    return app


class CeleryDoorbell(Doorbell):
    """Rings through Redis. While Redis is away it stays silent for some seconds after each failure."""

    def __init__(self, redis_url: str, clock: Clock) -> None:
        self._clock = clock
        self._last_error: str | None = None
        self._quiet_until = 0.0
        self._app = Celery("carrara", broker=redis_url, set_as_current=False)
        self._app.conf.update(
            **_SHARED,
            broker_connection_timeout=_SOCKET_SECONDS,
            broker_transport_options={
                "socket_connect_timeout": _SOCKET_SECONDS,
                "socket_timeout": _SOCKET_SECONDS,
                "retry_on_timeout": False,
                "max_retries": 0,
            },
        )

    @property
    def last_error(self) -> str | None:
        return self._last_error

    def ring(self, job_id: JobId) -> None:
        if self._clock.monotonic() < self._quiet_until:
            return
        self._try(lambda: self._app.send_task(RING_TASK, args=[str(job_id)], retry=False, expires=_RING_LIVES_SECONDS))

    def check(self) -> str | None:
        """Asks the broker now, in under half a second; gives `last_error`."""
        self._try(self._ping)
        return self._last_error

    def close(self) -> None:
        self._app.close()

    def _ping(self) -> None:
        with self._app.connection_for_write() as connection:
            connection.default_channel.client.ping()

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001  # the job is committed; no fault of the broker may make that look failed
            if self._last_error is None:
                _log.warning("the job queue is degraded, workers find jobs by asking the database: %s", error)
            self._last_error = f"{type(error).__name__}: {error}"
            self._quiet_until = self._clock.monotonic() + _QUIET_SECONDS
        else:
            if self._last_error is not None:
                _log.info("the job queue is well again")
            self._last_error = None


class SilentDoorbell(Doorbell):
    """For a platform without a Redis: workers hear of jobs from Postgres alone."""

    @property
    def last_error(self) -> str | None:
        return "CARRARA_REDIS_URL is not set"

    def ring(self, job_id: JobId) -> None:
        """Nobody to tell."""


class CeleryConsumer:
    """A Celery worker (threads pool) in a thread of ours: without Redis it keeps trying, and nobody waits for it."""

    def __init__(self, redis_url: str, *, name: str, slots: int, heard: Heard) -> None:
        for chatty in ("celery.app.trace", "celery.worker.strategy"):  # two lines for each ring
            logging.getLogger(chatty).setLevel(logging.WARNING)
        self._app = make_celery(redis_url)
        self._app.set_default()  # the threads of Celery's pool look their tasks up in the process's default app
        self._app.carrara_heard = heard  # not in `conf`, which Celery makes anew when it is first used
        self._options: dict[str, Any] = {
            "pool_cls": "threads",
            "concurrency": slots,
            "hostname": name,
            "without_gossip": True,
            "without_mingle": True,
            "without_heartbeat": True,
        }
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="celery", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        """Ends the consumer; a thread that hangs in a dead connection is left behind, it is a daemon."""
        self._stopping.set()
        celery_state.should_stop = 0
        self._thread.join(timeout_seconds)
        celery_state.should_stop = None

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._app.WorkController(**self._options).start()
            except Exception:  # noqa: BLE001  # whatever Celery falls over, jobs go on by the poll and we try again
                _log.exception("the Celery consumer stopped; jobs are found by asking the database until it is back")
            except SystemExit:
                _log.info("the Celery consumer ended")
            self._stopping.wait(_RESTART_SECONDS)


def heard_of(app: Celery) -> Heard:
    """What the worker process wants to be told of each ring."""
    heard: Heard = app.carrara_heard
    return heard
