"""One call instead of two, and the same answers to the last bit."""

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from carrara.inference.label_shortcut import TRIAL_ROWS, LabelShortcut

KINDS = [
    DecisionTreeClassifier(max_depth=3, random_state=0),
    ExtraTreesClassifier(n_estimators=10, random_state=0),
    HistGradientBoostingClassifier(max_iter=10, random_state=0),
    LogisticRegression(),
    RandomForestClassifier(n_estimators=10, random_state=0),
]


def rows(count: int, seed: int) -> Any:
    return np.random.default_rng(seed).normal(size=(count, 4)).round(1)


def fitted(estimator: Any, classes: int) -> Any:
    given = rows(400, 1)
    noise = np.random.default_rng(2).normal(size=400)
    names = np.array(["no", "yes", "who knows"])
    labels = names[np.digitize(given[:, 0] + noise, [0.0, 0.7][: classes - 1])]
    return make_pipeline(StandardScaler(), estimator).fit(given, labels)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("estimator", KINDS, ids=lambda kind: type(kind).__name__)
def test_labels_are_those_of_predict(estimator: Any, classes: int) -> None:
    model = fitted(estimator, classes)
    shortcut = LabelShortcut.of(model)
    assert shortcut is not None
    trial = rows(TRIAL_ROWS, 3)
    shortcut.compare(model.predict_proba(trial), model.predict(trial))

    found = 0
    for row in rows(200, 4):
        labels = shortcut.labels(model.predict_proba([row]))
        if labels is not None:
            found += 1
            assert labels.tolist() == model.predict([row]).tolist()
    assert found > 100


def test_nothing_is_said_before_enough_was_compared() -> None:
    shortcut = LabelShortcut(np.array(["a", "b"]))
    shortcut.compare(np.array([[0.9, 0.1]]), np.array(["a"]))

    assert shortcut.labels(np.array([[0.9, 0.1]])) is None


def proven() -> LabelShortcut:
    shortcut = LabelShortcut(np.array(["a", "b"]))
    shortcut.compare(np.array([[0.9, 0.1]] * TRIAL_ROWS), np.array(["a"] * TRIAL_ROWS))
    return shortcut


def test_one_difference_ends_it_for_good() -> None:
    shortcut = LabelShortcut(np.array(["a", "b"]))
    shortcut.compare(np.array([[0.9, 0.1]]), np.array(["b"]))
    shortcut.compare(np.array([[0.9, 0.1]] * TRIAL_ROWS), np.array(["a"] * TRIAL_ROWS))

    assert shortcut.labels(np.array([[0.9, 0.1]])) is None


@pytest.mark.parametrize("row", [[0.5, 0.5], [0.500001, 0.499999], [np.nan, 0.5]])
def test_what_is_too_close_is_left_to_predict(row: list[float]) -> None:
    assert proven().labels(np.array([[0.9, 0.1]])).tolist() == ["a"]
    assert proven().labels(np.array([[0.9, 0.1], row])) is None


class Contrary(LogisticRegression):
    """Says the opposite."""


def test_other_kinds_are_asked_both_ways() -> None:
    patched = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    patched.predict = lambda given: [0] * len(given)

    for other in (GaussianNB(), SVC(), Contrary(), patched):
        assert LabelShortcut.of(other) is None
