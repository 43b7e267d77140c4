"""Work that repeats in threads, for as long as somebody says so."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from carrara.kernel.errors import Unavailable

_LONGEST_PAUSE_SECONDS = 15.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loop:
    """`act` every `every_seconds`, or sooner at a ring; at once again if it returns true (there is more to do)."""

    name: str
    act: Callable[[], object]
    every_seconds: float
    bell: threading.Event = field(default_factory=threading.Event)

    def run(self, halted: threading.Event) -> None:
        """Repeats until `halted`. A failure is logged and tried again later, with growing pauses."""
        pause = self.every_seconds
        while not halted.is_set():
            self.bell.clear()
            try:
                if self.act() is True:
                    continue
                pause = self.every_seconds
            except Unavailable as error:
                _log.warning("%s: %s", self.name, error)
                pause = self._longer(pause)
            except Exception:  # noqa: BLE001  # one bad item must not end the work on all others
                _log.exception("%s failed", self.name)
                pause = self._longer(pause)
            if not halted.is_set():
                self.bell.wait(pause)

    def _longer(self, pause: float) -> float:
        return min(max(pause * 2, self.every_seconds), _LONGEST_PAUSE_SECONDS)


class RunningLoops:
    """Loops in daemon threads, from `with` to its end."""

    def __init__(self, loops: Sequence[Loop], *, join_seconds: float = 2.0) -> None:
        self._loops = loops
        self._join_seconds = join_seconds
        self._halted = threading.Event()
        self._threads = [
            threading.Thread(target=loop.run, args=(self._halted,), name=loop.name, daemon=True) for loop in loops
        ]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        """No loop begins another act from now on; those under way get `join_seconds` together."""
        self._halted.set()
        for loop in self._loops:
            loop.bell.set()
        deadline = time.monotonic() + self._join_seconds
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
            if thread.is_alive():
                _log.warning("%s is still busy; its transaction will be rolled back or harmless", thread.name)
