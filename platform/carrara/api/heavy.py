"""Work of a request that reads whole tables: a few at a time in a process, the others wait without a thread."""

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Request

T = TypeVar("T")
HEAVY_AT_ONCE = 2  # each needs memory for a few row groups and most of a core


async def run_heavy(request: Request, act: Callable[[], T]) -> T:
    """What `act` gives, in a thread, once fewer than `HEAVY_AT_ONCE` others are at it."""
    state = request.app.state
    if not hasattr(state, "heavy_limiter"):
        state.heavy_limiter = CapacityLimiter(HEAVY_AT_ONCE)
    limiter: CapacityLimiter = state.heavy_limiter
    return await to_thread.run_sync(act, limiter=limiter)
