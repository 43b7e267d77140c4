"""When one release gives so many faults that it should be given no more requests. Pure: time is passed in."""

from collections import deque

MIN_FAULTS = 20
MIN_SHARE = 0.5
WINDOW_SECONDS = 30.0
_BUCKET_SECONDS = 5.0


class Breaker:
    """Trips when, within the window, at least `MIN_FAULTS` answers and `MIN_SHARE` of all were the model's faults."""

    def __init__(self) -> None:
        self._buckets: deque[list[float]] = deque()  # [since, answers, faults]

    def record(self, now: float, *, is_fault: bool) -> bool:
        """Counts one answer; whether that is one too many."""
        while self._buckets and self._buckets[0][0] <= now - WINDOW_SECONDS:
            self._buckets.popleft()
        if not self._buckets or now - self._buckets[-1][0] >= _BUCKET_SECONDS:
            self._buckets.append([now, 0, 0])
        self._buckets[-1][1] += 1
        self._buckets[-1][2] += is_fault
        if not is_fault:
            return False
        faults = sum(bucket[2] for bucket in self._buckets)
        answers = sum(bucket[1] for bucket in self._buckets)
        return faults >= MIN_FAULTS and faults >= MIN_SHARE * answers
