"""What happened at one endpoint in this process since it booted."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

LATENCY_BOUNDS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass
class EndpointStats:
    """`requests`: every one that was let in. `errors`: answered with 5xx, of which `model_faults` are the model's."""

    requests: int = 0
    rows: int = 0
    errors: int = 0
    model_faults: int = 0
    overloaded: int = 0
    ignored_values: int = 0
    in_flight: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    latency_counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_SECONDS) + 1))
    latency_sum: float = 0.0

    def count_answer(self, seconds: float, rows: int, ignored: int) -> None:
        self.requests += 1
        self.rows += rows
        self.ignored_values += ignored
        self.latency_sum += seconds
        self.latency_counts[bisect_left(LATENCY_BOUNDS_SECONDS, seconds)] += 1

    def count_refusal(self, code: str) -> None:
        """The caller's fault."""
        self.requests += 1
        self.refusals[code] += 1

    def count_error(self) -> None:
        self.requests += 1
        self.errors += 1

    def count_fault(self) -> None:
        self.requests += 1
        self.errors += 1
        self.model_faults += 1
