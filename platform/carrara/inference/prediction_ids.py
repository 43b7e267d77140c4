"""Names of predictions: when, in which boot of which process, and the how-many-th. So a name finds its log segment."""

import itertools
import time
from uuid import UUID


class PredictionIds:
    """Gives `<12 hex digits of Unix milliseconds>-<32 of the boot id>-<counter>`; unique, and sorted within a boot."""

    def __init__(self, boot_id: UUID) -> None:
        self._middle = f"-{boot_id.hex}-"
        self._counter = itertools.count(1)

    def next(self) -> str:
        return f"{time.time_ns() // 1_000_000:012x}{self._middle}{next(self._counter):08x}"
