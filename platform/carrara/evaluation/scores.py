"""Answers of a model on labelled rows, and the metrics that fit its task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from carrara.contracts.contract import ModelContract
from carrara.contracts.evaluation import Interval
from carrara.evaluation.bootstrap import Samples, differences, intervals, measure, sample
from carrara.evaluation.metrics import Metric, binary_metrics, multiclass_metrics, regression_metrics


@dataclass(frozen=True)
class Answers:
    """What a model said, as serving would have: `prediction` [rows], `probabilities` [rows, classes] or None."""

    contract: ModelContract
    prediction: list[Any]
    probabilities: list[list[float]] | None

    def take(self, rows: npt.NDArray[np.int64]) -> "Answers":
        """The answers of these rows."""
        probabilities = None if self.probabilities is None else [self.probabilities[row] for row in rows]
        return Answers(self.contract, [self.prediction[row] for row in rows], probabilities)


@dataclass(frozen=True)
class Scores:
    """Metrics on the rows, and on each resample of them."""

    values: Mapping[str, float]
    samples: Samples

    def intervals(self) -> dict[str, Interval]:
        return intervals(self.values, self.samples)

    def minus(self, other: "Scores") -> dict[str, Interval]:
        """The differences, from the same resamples: both were scored with one seed on the same rows."""
        return differences((self.values, self.samples), (other.values, other.samples))


def score(labels: Sequence[Any], answers: Answers, *, resamples: int, seed: int) -> Scores:
    """The metrics of the model's task on these labels."""
    metrics = metrics_for(labels, answers)
    return Scores(measure(metrics, len(labels)), sample(metrics, len(labels), resamples, seed))


def metrics_for(labels: Sequence[Any], answers: Answers) -> dict[str, Metric]:
    """The metrics that can be had: without probabilities only those of the predicted labels."""
    if answers.contract.task == "regression":
        return regression_metrics(_floats(labels), _floats(answers.prediction))
    classes = classes_of(answers.contract, labels)
    table = None if answers.probabilities is None else _floats(answers.probabilities)
    if len(classes) == 2:
        return binary_metrics(labels, answers.prediction, None if table is None else table[:, 1], classes[1])
    return multiclass_metrics(labels, answers.prediction, table, classes)


def positive_class(contract: ModelContract, labels: Sequence[Any]) -> Any:
    """Of two classes the second in the contract's order (true, 1, the later in the alphabet); None otherwise."""
    classes = classes_of(contract, labels) if contract.task == "classification" else []
    return classes[1] if len(classes) == 2 else None


def classes_of(contract: ModelContract, labels: Sequence[Any]) -> list[Any]:
    """The contract's classes; those of the labels, sorted, if it names none."""
    return list(contract.classes) if contract.classes is not None else sorted(set(labels), key=repr)


def _floats(values: Sequence[Any]) -> npt.NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)
