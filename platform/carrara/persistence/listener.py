"""Hearing NOTIFY. It only says "look now" and may be lost with its connection, so there is always a poll behind."""

import logging
import threading
from collections.abc import Callable

import psycopg
from psycopg import sql

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 15.0
_LOOK_UP_SECONDS = 1.0
_log = logging.getLogger(__name__)

Heard = Callable[[str | None], None]


class Listener:
    """Calls `heard` with the payload of each notification, from a thread of its own with its own connection.

    After every (re)connection it calls `heard(None)`: something may have been missed. `heard` must not block.
    """

    def __init__(self, url: str, channel: str, heard: Heard) -> None:
        self._conninfo = url.replace("postgresql+psycopg://", "postgresql://", 1)
        self._channel = channel
        self._heard = heard
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"listen-{channel}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the connection is closed, within a second or so."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            try:
                with psycopg.connect(
                    self._conninfo, autocommit=True, connect_timeout=5, keepalives_idle=30
                ) as connection:
                    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
                    pause = _FIRST_PAUSE_SECONDS
                    self._heard(None)
                    self._listen(connection)
            except psycopg.Error as error:
                _log.warning("cannot listen on %s: %s; trying again in %g s", self._channel, error, pause)
                self._stopping.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _listen(self, connection: psycopg.Connection) -> None:
        while not self._stopping.is_set():
            for notification in connection.notifies(timeout=_LOOK_UP_SECONDS):
                self._heard(notification.payload)
                if self._stopping.is_set():
                    return
