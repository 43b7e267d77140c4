"""A model that does what its row says: answers, is slow, raises, dies, lies. Pickled by value into model folders."""

import ctypes
import os
import time
from typing import Any


class OddModel:
    """`act` by row: ok, nan, object, short, raise, exit, segv; then after `seconds` of sleep the answer `value`."""

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
