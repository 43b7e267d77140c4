"""Labels from probabilities, where that is what the estimator's own `predict` would say: half the work for a request.

scikit-learn 1.9 defines `predict` of these as the class of the largest probability (forests, trees), or of the largest
raw score, which the link (expit, softmax) keeps in order (`HistGradientBoostingClassifier`, `LogisticRegression`). The
two can part only where rounding makes two probabilities alike; so rows that close are given to `predict`.
"""

from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier

TRIAL_ROWS = 100
"""So many rows are answered both ways first; the golden set is among them, since no other request comes before it."""
CLOSE = 1e-5  # far above the rounding of float32, in which a link may be computed
_KINDS = (
    DecisionTreeClassifier,
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    LogisticRegression,
    RandomForestClassifier,
)


class LabelShortcut:
    """Watches `predict` beside `predict_proba` for `TRIAL_ROWS` rows, then stands in for it; one difference ends it."""

    def __init__(self, classes: Any) -> None:
        self._classes = classes
        self._compared = 0
        self._is_refuted = False

    @staticmethod
    def of(estimator: Any) -> "LabelShortcut | None":
        """For an estimator, or a pipeline with one at its end, whose exact type is known here; None for any other."""
        last = estimator.steps[-1][1] if type(estimator) is Pipeline else estimator
        is_plain = type(last) in _KINDS and not {"predict", "predict_proba"} & vars(last).keys()
        return LabelShortcut(np.asarray(last.classes_)) if is_plain and np.ndim(last.classes_) == 1 else None

    def labels(self, table: Any) -> Any:
        """The labels for probabilities ([rows, classes]); None if `predict` must be asked."""
        if self._is_refuted or self._compared < TRIAL_ROWS or not bool(_is_clear(table).all()):
            return None
        return self._classes[np.argmax(table, axis=1)]

    def compare(self, table: Any, labels: Any) -> None:
        """Learns what `predict` said to the rows of `table`. Rows that are close prove nothing."""
        clear = _is_clear(table)
        same = np.array_equal(self._classes[np.argmax(table, axis=1)][clear], np.asarray(labels)[clear])
        self._is_refuted = self._is_refuted or not same
        self._compared += len(table)


def _is_clear(table: Any) -> Any:
    """By row: whether one class leads by more than `CLOSE`. NaN is not clear."""
    if table.shape[1] < 2:
        return np.isfinite(table[:, 0])
    ordered = np.partition(table, -2, axis=1)
    return ordered[:, -1] - ordered[:, -2] > CLOSE
