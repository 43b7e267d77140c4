"""One controller acts, the others stand by: an advisory lock on a connection of its own.

Every act is also safe with two leaders (row locks, one sealer, SKIP LOCKED): the lock saves work, not correctness.
"""

import contextlib
import logging

import psycopg

_KEY = 0x0CA77A7B
_log = logging.getLogger(__name__)


class Leader:
    """Holds the lock as long as its connection lives; the database frees it when the process or the network dies."""

    def __init__(self, url: str) -> None:
        self._conninfo = url.replace("postgresql+psycopg://", "postgresql://", 1)
        self._connection: psycopg.Connection | None = None

    def acquire(self) -> bool:
        """True if this process leads from now on; False if another does. `psycopg.Error` if nobody could tell."""
        if self._connection is None:
            self._connection = psycopg.connect(
                self._conninfo,
                autocommit=True,
                connect_timeout=5,
                keepalives_idle=5,
                keepalives_interval=2,
                keepalives_count=3,
                options="-c statement_timeout=5000",
                application_name="carrara-controller-leader",
            )
        try:
            row = self._connection.execute("SELECT pg_try_advisory_lock(%s)", (_KEY,)).fetchone()
        except psycopg.Error:
            self.release()
            raise
        return bool(row and row[0])

    def holds(self) -> bool:
        """Whether the connection that holds the lock still answers."""
        if self._connection is None:
            return False
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error as error:
            _log.warning("the leader's connection is lost: %s", error)
            self.release()
            return False
        return True

    def release(self) -> None:
        """Lets another lead."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()
