"""What the user's `train(context)` gets. This is public: it changes only with a deprecation."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd
import pyarrow as pa

from carrara.contracts.contract import ModelContract
from carrara.contracts.training import Task
from carrara.training.failures import TrainingFault

MAX_PARAM_CHARACTERS = 6000
Emit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class TrainContext:
    """The training rows and what the spec says. Rows of the holdout, and rows without a target, are not in it.

    `features` is a frame [rows, names], typed as the model will be given its rows when it serves; `target` is the
    column of labels beside it. Return a fitted scikit-learn estimator or an `mlflow.pyfunc.PythonModel`.
    """

    features: pd.DataFrame
    target: "pd.Series[Any]"
    task: Task
    params: Mapping[str, Any]
    seed: int
    contract: ModelContract
    _emit: Emit = field(repr=False)
    _read_table: Callable[[], pa.Table] = field(repr=False)
    _logged: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def feature_names(self) -> list[str]:
        return [column.name for column in self.contract.inputs]

    @property
    def logged_params(self) -> dict[str, str]:
        """What `log_param` was given so far."""
        return dict(self._logged)

    @cached_property
    def table(self) -> pa.Table:
        """The same rows as Arrow, in the same order, with every column of the snapshot; read when first asked for."""
        return self._read_table()

    def log_metric(self, name: str, value: float, step: int = 0) -> None:
        """A point of a curve in MLflow. NaN or Infinity ends the job: a training that diverged has no result."""
        number = float(value)
        if not math.isfinite(number):
            raise TrainingFault(
                f"metric {name!r} is {number} at step {step}: the training diverged; lower the learning rate, or check"
                " the features for extreme values",
                code="non_finite_metric",
                metric=name,
                step=step,
            )
        self._emit({"event": "metric", "name": str(name), "value": number, "step": int(step)})

    def log_param(self, name: str, value: Any) -> None:
        """Something to find the run by, besides the spec's own params."""
        text = str(value)
        if len(text) > MAX_PARAM_CHARACTERS:
            raise ValueError(f"param {name!r} has {len(text)} characters; at most {MAX_PARAM_CHARACTERS} are kept")
        self._logged[str(name)] = text

    def progress(self, fraction: float | None, message: str = "") -> None:
        """How far it is, from 0 to 1; None when that cannot be known."""
        shown = None if fraction is None else min(max(float(fraction), 0.0), 1.0)
        self._emit({"event": "progress", "fraction": shown, "message": message})

    def log(self, message: str) -> None:
        """A line in the job's log; `print` does the same."""
        print(message, flush=True)  # noqa: T201  # standard output is the job's log
