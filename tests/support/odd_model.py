"""A model that does what its row says: answers, is slow, raises, dies, lies. Pickled by value into model folders."""

import contextlib
import ctypes
import os
import time
from typing import Any


class OddModel:
    """`act` by row: ok, nan, inf, object, huge, short, raise, exit, segv, garbage.

    First it sleeps for the largest of `seconds`; the answer is `value` plus the offset.
    """

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset

    def predict(self, frame: Any) -> Any:
        acts = list(frame["act"])
        time.sleep(float(frame["seconds"].fillna(0.0).max()))
        if "raise" in acts:
            raise KeyError("this model raises")
        if "exit" in acts:
            os._exit(3)
        if "segv" in acts:
            ctypes.string_at(0)
        if "garbage" in acts:
            for descriptor in range(3, 64):
                with contextlib.suppress(OSError):
                    os.write(descriptor, b"\\xff" * 64)
        values: list[Any] = [float(value) + self.offset for value in frame["value"]]
        if "nan" in acts:
            values[0] = float("nan")
        if "inf" in acts:
            values[0] = float("inf")
        if "object" in acts:
            values[0] = {"what": "ever"}
        if "huge" in acts:
            values[0] = "x" * (80 << 20)
        return values[1:] if "short" in acts else values
