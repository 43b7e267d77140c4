"""Load on a serving endpoint, and looking into a serving process from outside."""

import threading
from typing import Any

import httpx
import psutil
from tests.support.serving import LIVE_PATH, Serving
from tests.support.serving_fixtures import Town


class Load:
    """Clients that ask without a pause, in threads, until they are stopped."""

    def __init__(self, serving: Serving, clients: int = 4) -> None:
        self.answers: list[dict[str, Any]] = []
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(serving,), daemon=True) for _ in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(40)

    def _ask(self, serving: Serving) -> None:
        with serving.client() as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(LIVE_PATH, json={"instances": [{"value": 1.0}]})
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                    continue
                if answer.status_code == 200:
                    self.answers.append(answer.json())
                else:
                    self.failures.append(answer.text)


def model_children(process: psutil.Process) -> list[psutil.Process]:
    """The innermost processes below a serving process: those that hold models."""
    below = process.children(recursive=True)
    return [child for child in below if not child.children()]


def metric(town: Town, name: str) -> float:
    """The sum of a metric's series in one process."""
    text = httpx.get(f"{town.serving.url}/metrics", trust_env=False).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name + "{"))
