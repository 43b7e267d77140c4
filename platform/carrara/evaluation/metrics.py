"""The field's metrics, each a function of how often every row counts: once each for the value, a resample for an
interval. So the value and its interval come from one formula.

`weights` is [resamples, rows], counts or other non-negative numbers; every metric gives [resamples], NaN where it is
not defined (one class only, no positive prediction). Values agree with scikit-learn's `sample_weight`; tests compare.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Metric: TypeAlias = Callable[[Floats], Floats]

ECE_BINS = 15  # Guo et al. 2017, "On Calibration of Modern Neural Networks", section 5

HIGHER_IS_BETTER: Mapping[str, bool] = {
    "roc_auc": True,
    "average_precision": True,
    "log_loss": False,
    "brier": False,
    "accuracy": True,
    "f1": True,
    "precision": True,
    "recall": True,
    "ece": False,
    "roc_auc_macro": True,
    "average_precision_macro": True,
    "f1_macro": True,
    "precision_macro": True,
    "recall_macro": True,
    "rmse": False,
    "mae": False,
    "r2": True,
    "medae": False,
    "mape": False,
    "wape": False,
}


@dataclass(frozen=True)
class Ranking:
    """Rows by falling score; equal scores form one group, so ties count half (Fawcett 2006, section 5)."""

    is_positive: npt.NDArray[np.bool_]
    scores: Floats

    @cached_property
    def _order(self) -> npt.NDArray[np.intp]:
        return np.argsort(-self.scores, kind="stable")

    @cached_property
    def _ends(self) -> npt.NDArray[np.intp]:
        falling = self.scores[self._order]
        return np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)

    def _counted(self, weights: Floats) -> tuple[Floats, Floats]:
        """True and false positives at each threshold, from the highest score down: both [resamples, thresholds]."""
        sorted_weights = weights[:, self._order]
        positives = np.cumsum(sorted_weights * self.is_positive[self._order], axis=1)[:, self._ends]
        return positives, np.cumsum(sorted_weights, axis=1)[:, self._ends] - positives

    def roc_auc(self, weights: Floats) -> Floats:
        """Area under the receiver operating characteristic, by trapezoids."""
        hits, alarms = self._counted(weights)
        before = np.pad(hits[:, :-1], ((0, 0), (1, 0)))
        steps = np.diff(alarms, axis=1, prepend=0.0)
        return _ratio(np.sum(steps * (hits + before) / 2, axis=1), hits[:, -1] * alarms[:, -1])

    def average_precision(self, weights: Floats) -> Floats:
        """Sum of precision times the step in recall, not interpolated."""
        hits, alarms = self._counted(weights)
        precision = _ratio(hits, hits + alarms, empty=0.0)
        steps = np.diff(hits, axis=1, prepend=0.0)
        return _ratio(np.sum(steps * precision, axis=1), hits[:, -1])


def binary_metrics(
    labels: Sequence[Any], predictions: Sequence[Any], positive_scores: Floats | None, positive: Any
) -> dict[str, Metric]:
    """For two classes. `positive_scores` [rows] are probabilities of `positive`; without them only the metrics of the
    predicted labels are there."""
    is_positive = _equals(labels, positive)
    predicted = _equals(predictions, positive)
    metrics = _label_metrics(is_positive, predicted)
    metrics["accuracy"] = _mean_of(_equal_pairs(labels, predictions))
    if positive_scores is not None:
        ranking = Ranking(is_positive, positive_scores)
        truth = is_positive.astype(np.float64)
        of_truth = np.where(is_positive, positive_scores, 1 - positive_scores)
        metrics |= {
            "roc_auc": ranking.roc_auc,
            "average_precision": ranking.average_precision,
            "log_loss": _mean_of(_surprise(of_truth)),
            "brier": _mean_of((positive_scores - truth) ** 2),
            "ece": _calibration_error(positive_scores, truth),
        }
    return metrics


def multiclass_metrics(
    labels: Sequence[Any], predictions: Sequence[Any], probabilities: Floats | None, classes: Sequence[Any]
) -> dict[str, Metric]:
    """For three classes or more. `probabilities` is [rows, classes]. Macro: the plain mean over classes, each against
    the rest; `brier` is the sum over classes, `ece` that of the most likely class."""
    truth = np.column_stack([_equals(labels, label) for label in classes])
    predicted = np.column_stack([_equals(predictions, label) for label in classes])
    each = [_label_metrics(truth[:, k], predicted[:, k], empty=0.0) for k in range(len(classes))]
    metrics = {f"{name}_macro": _macro([one[name] for one in each]) for name in ("f1", "precision", "recall")}
    metrics["accuracy"] = _mean_of(_equal_pairs(labels, predictions))
    if probabilities is not None:
        rankings = [Ranking(truth[:, k], probabilities[:, k]) for k in range(len(classes))]
        likeliest = probabilities.argmax(axis=1)
        is_right = truth[np.arange(len(truth)), likeliest].astype(np.float64)
        total = probabilities.sum(axis=1)
        metrics |= {
            "roc_auc_macro": _macro([ranking.roc_auc for ranking in rankings]),
            "average_precision_macro": _macro([ranking.average_precision for ranking in rankings]),
            "log_loss": _mean_of(_surprise((probabilities * truth).sum(axis=1) / total)),
            "brier": _mean_of(((probabilities - truth) ** 2).sum(axis=1)),
            "ece": _calibration_error(probabilities.max(axis=1), is_right),
        }
    return metrics


def regression_metrics(labels: Floats, predictions: Floats) -> dict[str, Metric]:
    """`mape` leaves out rows whose label is 0 (it has no meaning there); `wape` = sum |error| / sum |label| needs no
    such care (Hyndman & Koehler 2006, section 2)."""
    error = np.abs(predictions - labels)
    has_size = labels != 0
    relative = np.divide(error, np.abs(labels), out=np.zeros_like(error), where=has_size)

    def rmse(weights: Floats) -> Floats:
        return np.sqrt(_ratio(weights @ error**2, weights.sum(axis=1)))

    def r2(weights: Floats) -> Floats:
        mean = _ratio(weights @ labels, weights.sum(axis=1))
        centred = labels - labels.mean()
        spread = weights @ centred**2 - weights.sum(axis=1) * (mean - labels.mean()) ** 2
        return 1 - _ratio(weights @ error**2, np.where(spread > _TINY * np.abs(centred).max(initial=0.0), spread, 0.0))

    return {
        "rmse": rmse,
        "mae": _mean_of(error),
        "r2": r2,
        "medae": _median_of(error),
        "mape": lambda weights: _ratio(weights @ relative, weights @ has_size.astype(np.float64)),
        "wape": lambda weights: _ratio(weights @ error, weights @ np.abs(labels)),
    }


_TINY = 1e-12


def _label_metrics(
    truth: npt.NDArray[np.bool_], predicted: npt.NDArray[np.bool_], empty: float = np.nan
) -> dict[str, Metric]:
    both, said, was = ((truth & predicted).astype(np.float64), predicted.astype(np.float64), truth.astype(np.float64))
    return {
        "precision": lambda weights: _ratio(weights @ both, weights @ said, empty=empty),
        "recall": lambda weights: _ratio(weights @ both, weights @ was, empty=empty),
        "f1": lambda weights: _ratio(2 * (weights @ both), weights @ (said + was), empty=empty),
    }


def _mean_of(values: Floats) -> Metric:
    return lambda weights: _ratio(weights @ values, weights.sum(axis=1))


def _median_of(values: Floats) -> Metric:
    """The mean of the two middle values when the weights add up to an even number; weights must be whole."""
    order = np.argsort(values, kind="stable")
    rising = values[order]

    def median(weights: Floats) -> Floats:
        cumulative = np.cumsum(weights[:, order], axis=1)
        total = cumulative[:, -1]
        lower, upper = np.floor((total + 1) / 2), np.floor(total / 2) + 1
        found = [
            [np.searchsorted(row, rank) for rank in ranks] for row, *ranks in zip(cumulative, lower, upper, strict=True)
        ]
        return np.asarray(rising[np.asarray(found)].mean(axis=1))

    return median


def _calibration_error(confidence: Floats, was_right: Floats) -> Metric:
    """Mean |accuracy - confidence| over equally wide bins, weighted by the rows in each (Guo et al. 2017, eq. 3)."""
    bins = np.minimum((confidence * ECE_BINS).astype(np.intp), ECE_BINS - 1)
    gap = np.zeros((len(confidence), ECE_BINS))
    gap[np.arange(len(confidence)), bins] = was_right - confidence
    return lambda weights: _ratio(np.abs(weights @ gap).sum(axis=1), weights.sum(axis=1))


def _surprise(probability_of_truth: Floats) -> Floats:
    return np.asarray(-np.log(np.clip(probability_of_truth, np.finfo(np.float64).eps, 1.0)))


def _macro(metrics: Sequence[Metric]) -> Metric:
    return lambda weights: np.mean([metric(weights) for metric in metrics], axis=0)


def _ratio(numerator: Floats, denominator: Floats, empty: float = np.nan) -> Floats:
    out = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), empty)
    return np.asarray(np.divide(numerator, denominator, out=out, where=denominator > 0))


def _equals(values: Sequence[Any], label: Any) -> npt.NDArray[np.bool_]:
    return np.fromiter((value == label for value in values), dtype=np.bool_, count=len(values))


def _equal_pairs(first: Sequence[Any], second: Sequence[Any]) -> Floats:
    return np.fromiter((a == b for a, b in zip(first, second, strict=True)), dtype=np.float64, count=len(first))
