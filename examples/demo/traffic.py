"""Real flights as requests: some to compare every answer, some to keep coming while releases change."""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from examples.demo.narrator import Bar

from carrara.kernel.errors import CarraraError
from carrara.sdk.predictions import Predictions

Row = Mapping[str, Any]
ROWS_IN_A_REQUEST = 20


@dataclass
class Answers:
    """What came back, row by row, in the order of the request."""

    labels: list[Any] = field(default_factory=list)
    probabilities: list[dict[str, float]] = field(default_factory=list)
    releases: set[str] = field(default_factory=set)


def ask_all(client: Predictions, endpoint: str, rows: Sequence[Row], bar: Bar) -> Answers:
    """Sends the first tenth one by one and the rest in requests of twenty, over four connections."""
    alone = len(rows) // 10
    starts = [*range(alone), *range(alone, len(rows), ROWS_IN_A_REQUEST)]
    requests = [rows[at : at + (1 if at < alone else ROWS_IN_A_REQUEST)] for at in starts]
    found = Answers()
    with ThreadPoolExecutor(4) as pool:
        for done, answer in enumerate(pool.map(lambda part: client.predict(endpoint, part), requests), start=1):
            found.releases.add(answer["release"])
            for row in answer["predictions"]:
                found.labels.append(row["prediction"])
                found.probabilities.append(row["probabilities"])
            bar.show(done / len(requests))
    return found


class SteadyTraffic:
    """Two callers that never stop asking. `with` starts and ends them; then look at what they saw."""

    def __init__(self, client: Predictions, endpoint: str, rows: Sequence[Row]) -> None:
        self._client = client
        self._endpoint = endpoint
        self._rows = rows
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(offset,)) for offset in (0, len(rows) // 2)]
        self._lock = threading.Lock()
        self.versions: Counter[str] = Counter()
        self.failures: list[str] = []
        self.last_seen: dict[str, float] = {}

    def __enter__(self) -> "SteadyTraffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def requests(self) -> int:
        return sum(self.versions.values()) + len(self.failures)

    def _ask(self, offset: int) -> None:
        at = offset
        while not self._over.is_set():
            row = self._rows[at % len(self._rows)]
            at += 1
            try:
                answer = self._client.predict(self._endpoint, [row])
            except CarraraError as error:
                with self._lock:
                    self.failures.append(f"{error.code}: {error.message}")
                continue
            name = f"{answer['model']} {answer['version']}"
            with self._lock:
                self.versions[name] += 1
                self.last_seen[name] = time.monotonic()
