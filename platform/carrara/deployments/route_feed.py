"""The route table for many long polls in one process: one listener, one look a second, one copy of the table."""

import asyncio
import logging
import threading
from dataclasses import dataclass

from carrara.deployments.instance_store import current_generation
from carrara.deployments.route_store import read_route_table
from carrara.deployments.store import ROUTES_CHANNEL
from carrara.kernel.errors import Unavailable
from carrara.persistence.database import EVERYTHING, Database
from carrara.persistence.listener import Listener

_LOOK_EVERY_SECONDS = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RenderedTable:
    """A route table as the bytes that every poll gets."""

    generation: int
    body: bytes


@dataclass(eq=False)
class _Waiter:
    loop: asyncio.AbstractEventLoop
    woken: asyncio.Event

    def wake(self) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.woken.set)


class RouteFeed:
    """Starts its two threads at the first wait; `stop` ends them and lets every waiter go."""

    def __init__(self, database: Database, url: str) -> None:
        self._database = database
        self._bell = threading.Event()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._building = threading.Lock()
        self._waiters: set[_Waiter] = set()
        self._generation = -1
        self._rendered: RenderedTable | None = None
        self._listener = Listener(url, ROUTES_CHANNEL, lambda _: self._bell.set())
        self._watcher: threading.Thread | None = None

    def generation(self) -> int:
        """The number of the table that serving should have, read from the database. Blocks."""
        with self._database.transaction(EVERYTHING) as session:
            return current_generation(session)

    def table(self) -> RenderedTable:
        """The table as it stands, built once for each generation. Blocks."""
        wanted = self.generation()
        with self._building:
            if self._rendered is None or self._rendered.generation != wanted:
                with self._database.transaction(EVERYTHING) as session:
                    table = read_route_table(session)
                self._rendered = RenderedTable(table.generation, table.model_dump_json().encode())
            return self._rendered

    async def changed(self, after: int, within_seconds: float) -> bool:
        """Waits until there is a newer generation than `after`; False if there was none in time."""
        waiter = _Waiter(asyncio.get_running_loop(), asyncio.Event())
        deadline = waiter.loop.time() + within_seconds
        with self._lock:
            self._start()
            self._waiters.add(waiter)
        self._bell.set()
        try:
            while self._generation <= after and not self._stopping.is_set():
                left = deadline - waiter.loop.time()
                if left <= 0:
                    return False
                try:
                    await asyncio.wait_for(waiter.woken.wait(), left)
                except TimeoutError:
                    return False
                waiter.woken.clear()
            return self._generation > after
        finally:
            with self._lock:
                self._waiters.discard(waiter)

    def stop(self) -> None:
        """Ends both threads; every waiter is told that nothing changed."""
        with self._lock:
            self._stopping.set()
            watcher = self._watcher
        self._bell.set()
        self._wake_all()
        if watcher is not None:
            watcher.join()
            self._listener.stop()

    def _start(self) -> None:
        if self._watcher is None and not self._stopping.is_set():
            self._listener.start()
            self._watcher = threading.Thread(target=self._watch, name="route-feed", daemon=True)
            self._watcher.start()

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self._bell.wait(_LOOK_EVERY_SECONDS)
            self._bell.clear()
            if not self._waiters:
                continue
            try:
                found = self.generation()
            except Exception as error:  # noqa: BLE001  # whatever it is, who waits must hear of the next table
                is_known = isinstance(error, Unavailable)
                _log.warning("cannot look for a new route table: %s", error, exc_info=not is_known)
                self._stopping.wait(_LOOK_EVERY_SECONDS)
                continue
            if found != self._generation:
                self._generation = found
                self._wake_all()

    def _wake_all(self) -> None:
        with self._lock:
            waiters = list(self._waiters)
        for waiter in waiters:
            waiter.wake()
