"""Tidies up behind attempts that ended without their worker: folders on this disk, open rows in the table."""

import logging
import threading
from uuid import UUID

from carrara.jobs import leases
from carrara.jobs.staging import StagingArea
from carrara.kernel.errors import Unavailable
from carrara.persistence.database import EVERYTHING, Database

_log = logging.getLogger(__name__)


class Sweeper:
    """Sweeps at its start and every minute, in a thread of its own."""

    def __init__(self, database: Database, staging: StagingArea, *, every_seconds: float = 60.0) -> None:
        self._database = database
        self._staging = staging
        self._every_seconds = every_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="job-sweeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def sweep(self) -> None:
        """Once, now; `Unavailable` without a database."""
        self._staging.sweep(self._running)
        with self._database.transaction(EVERYTHING) as session:
            closed = leases.close_left_open(session)
        if closed:
            _log.info("closed %d attempts that were left open", closed)

    def _running(self, job_ids: list[UUID]) -> set[tuple[UUID, int]]:
        with self._database.transaction(EVERYTHING) as session:
            return leases.running(session, job_ids)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.sweep()
            except Unavailable as error:
                _log.warning("sweeping behind jobs has to wait: %s", error)
            except Exception:  # noqa: BLE001  # the next round tries again
                _log.exception("sweeping behind jobs failed")
            self._stopping.wait(self._every_seconds)
