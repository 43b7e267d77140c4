"""What a child tells of itself, believed only as far as it is well formed. Pure.

Events: `progress` (fraction, message), `metric` (name, value, step), `result` (value, once) and `user_error`
(reason, message, facts).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from carrara.contracts.jobs import JobProgress
from carrara.jobs.jsonable import NotJson, clean_json, clean_text, finite

MAX_RESULT_BYTES = 1 << 20
MAX_METRICS_SHOWN = 200
_MAX_NAME = 250
_MAX_MESSAGE = 2000


@dataclass
class EventFold:
    """The state after all events so far. `metric_points` are those that nobody has taken yet."""

    progress: JobProgress = field(default_factory=JobProgress)
    result: dict[str, Any] | None = None
    user_error: dict[str, Any] | None = None
    metric_points: list[dict[str, Any]] = field(default_factory=list)
    has_news: bool = False

    def add(self, event: Mapping[str, Any]) -> None:
        """Takes one event; NotJson if it cannot be understood; then nothing has changed."""
        act = _ACTS.get(str(event.get("event")))
        if act is None:
            raise NotJson(f"unknown event {str(event.get('event'))[:80]!r}; there is {', '.join(sorted(_ACTS))}")
        act(self, event)

    def take_metric_points(self) -> list[dict[str, Any]]:
        """The metric events since the last call: name, value (a float, NaN too), step."""
        points, self.metric_points = self.metric_points, []
        return points

    def take_progress(self) -> JobProgress | None:
        """The progress if it has changed since the last call."""
        if not self.has_news:
            return None
        self.has_news = False
        return self.progress

    def _progress(self, event: Mapping[str, Any]) -> None:
        fraction = event.get("fraction")
        if fraction is not None:
            fraction = min(max(finite(fraction, "fraction"), 0.0), 1.0)
        message = clean_text(str(event.get("message") or ""))[:_MAX_MESSAGE]
        self.progress = self.progress.model_copy(update={"fraction": fraction, "message": message})
        self.has_news = True

    def _metric(self, event: Mapping[str, Any]) -> None:
        name, value, step = event.get("name"), event.get("value"), event.get("step", 0)
        if not isinstance(name, str) or not 1 <= len(name) <= _MAX_NAME:
            raise NotJson(f"a metric's name is text of 1 to {_MAX_NAME} characters")
        if isinstance(value, bool) or not isinstance(value, int | float) or not isinstance(step, int):
            raise NotJson(f"metric {name!r}: its value is a number, its step a whole number")
        name, value = clean_text(name), float(value)
        self.metric_points.append({"name": name, "value": value, "step": step})
        metrics = self.progress.metrics
        if math.isfinite(value) and (name in metrics or len(metrics) < MAX_METRICS_SHOWN):
            self.progress = self.progress.model_copy(update={"metrics": {**metrics, name: value}})
            self.has_news = True

    def _result(self, event: Mapping[str, Any]) -> None:
        if self.result is not None:
            raise NotJson("a second result; a job gives exactly one")
        value = clean_json(event.get("value"))
        if not isinstance(value, dict):
            raise NotJson("a result is a JSON object")
        if (size := len(json.dumps(value))) > MAX_RESULT_BYTES:
            raise NotJson(f"a result of {size} bytes, over {MAX_RESULT_BYTES}; write large things to files")
        self.result = value

    def _user_error(self, event: Mapping[str, Any]) -> None:
        reason = clean_text(str(event.get("reason") or "user_error"))[:80]
        message = clean_text(str(event.get("message") or reason))[:_MAX_MESSAGE]
        facts = clean_json(event.get("facts") or {})
        self.user_error = {"reason": reason, "message": message, "facts": facts if isinstance(facts, dict) else {}}


_ACTS = {
    "progress": EventFold._progress,
    "metric": EventFold._metric,
    "result": EventFold._result,
    "user_error": EventFold._user_error,
}
