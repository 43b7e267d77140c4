"""Waiting for what another process does: poll with a deadline, never sleep and hope."""

import time
from collections.abc import Callable
from typing import TypeVar

import httpx

T = TypeVar("T")


def eventually(check: Callable[[], T], *, within_seconds: float, what: str, every_seconds: float = 0.05) -> T:
    """The first true answer of `check`. AssertionError naming `what` and the last answer if none comes in time.

    A `check` that raises AssertionError, OSError or httpx.TransportError has not succeeded yet; any other error is a
    fault of the test.
    """
    deadline = time.monotonic() + within_seconds
    last: object = None
    while True:
        try:
            answer = check()
            if answer:
                return answer
            last = answer
        except (AssertionError, OSError, httpx.TransportError) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_seconds:g} s: {what} (last: {last!r})")
        time.sleep(every_seconds)
