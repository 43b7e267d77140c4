"""What MLflow can keep: its limits on names and values of params and metrics, read from mlflow/utils/validation.py."""

import math
import re
from datetime import datetime

MAX_NAME = 250
MAX_PARAM_VALUE = 6000
_NOT_ALLOWED = re.compile(r"[^\w.\- :/]")


def param_name(name: str) -> str:
    """A name that MLflow takes; what it cannot hold becomes `_`."""
    text = _NOT_ALLOWED.sub("_", name)[:MAX_NAME]
    parts = text.split("/")
    if any(part in ("", ".", "..") for part in parts):
        text = text.replace("/", "_")
    return "_" if text in ("", ".", "..") else text


metric_name = param_name


def param_value(value: str) -> str:
    """The text, cut where MLflow would refuse it."""
    return value if len(value) <= MAX_PARAM_VALUE else value[: MAX_PARAM_VALUE - 3] + "..."


def metric_value(value: float) -> float | str:
    """A number as protobuf's JSON writes it: NaN and the infinities are words."""
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def milliseconds(moment: datetime) -> int:
    """Unix time as MLflow counts it."""
    return int(moment.timestamp() * 1000)
