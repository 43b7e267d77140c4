"""Metrics against scikit-learn, with weights as it knows them, and against values that were published."""

import numpy as np
import pytest
from sklearn import metrics as sk

from carrara.evaluation.bootstrap import measure
from carrara.evaluation.metrics import (
    HIGHER_IS_BETTER,
    Floats,
    binary_metrics,
    multiclass_metrics,
    regression_metrics,
)


def _weights(rows: int, resamples: int = 4) -> Floats:
    counts = np.random.default_rng(3).poisson(1.0, (resamples, rows)).astype(np.float64)
    counts[0] = 1.0
    return counts


@pytest.fixture
def binary() -> tuple[list[bool], Floats]:
    """Labels and scores with many ties."""
    generator = np.random.default_rng(0)
    labels = generator.random(600) < 0.3
    scores = np.clip(0.3 * labels + generator.normal(0.35, 0.2, 600), 0, 1).round(2)
    return labels.tolist(), scores


def test_binary_metrics_agree_with_sklearn_for_every_weighting(binary: tuple[list[bool], Floats]) -> None:
    labels, scores = binary
    predictions = (scores > 0.5).tolist()
    metrics = binary_metrics(labels, predictions, scores, True)
    clipped = np.clip(scores, np.finfo(float).eps, 1 - np.finfo(float).eps)
    for row in _weights(len(labels)):
        given = {"sample_weight": row}
        expected = {
            "roc_auc": sk.roc_auc_score(labels, scores, **given),
            "average_precision": sk.average_precision_score(labels, scores, **given),
            "log_loss": sk.log_loss(labels, clipped, **given),
            "brier": sk.brier_score_loss(labels, scores, **given),
            "accuracy": sk.accuracy_score(labels, predictions, **given),
            "f1": sk.f1_score(labels, predictions, **given),
            "precision": sk.precision_score(labels, predictions, **given),
            "recall": sk.recall_score(labels, predictions, **given),
        }
        found = {name: metrics[name](row[np.newaxis])[0] for name in expected}
        assert found == pytest.approx(expected, rel=1e-9)


def test_multiclass_metrics_agree_with_sklearn() -> None:
    generator = np.random.default_rng(1)
    classes = ["a", "b", "c"]
    codes = generator.integers(0, 3, 500)
    labels = [classes[code] for code in codes]
    table = generator.dirichlet([1, 1, 1], 500)
    table[np.arange(500), codes] += 0.5
    table /= table.sum(axis=1, keepdims=True)
    predictions = [classes[code] for code in table.argmax(axis=1)]
    metrics = multiclass_metrics(labels, predictions, table, classes)
    for row in _weights(500, 3):
        expected = {
            "f1_macro": sk.f1_score(labels, predictions, average="macro", sample_weight=row),
            "precision_macro": sk.precision_score(labels, predictions, average="macro", sample_weight=row),
            "recall_macro": sk.recall_score(labels, predictions, average="macro", sample_weight=row),
            "accuracy": sk.accuracy_score(labels, predictions, sample_weight=row),
            "log_loss": sk.log_loss(labels, table, sample_weight=row),
            "roc_auc_macro": np.mean([sk.roc_auc_score(codes == k, table[:, k], sample_weight=row) for k in range(3)]),
            "average_precision_macro": np.mean(
                [sk.average_precision_score(codes == k, table[:, k], sample_weight=row) for k in range(3)]
            ),
            "brier": sk.brier_score_loss(labels, table, sample_weight=row, scale_by_half=False),
        }
        found = {name: metrics[name](row[np.newaxis])[0] for name in expected}
        assert found == pytest.approx(expected, rel=1e-9)


def test_regression_metrics_agree_with_sklearn() -> None:
    generator = np.random.default_rng(2)
    labels = generator.normal(100, 20, 401)
    predictions = labels + generator.normal(0, 8, 401)
    metrics = regression_metrics(labels, predictions)
    for row in _weights(401, 3):
        expected = {
            "rmse": sk.root_mean_squared_error(labels, predictions, sample_weight=row),
            "mae": sk.mean_absolute_error(labels, predictions, sample_weight=row),
            "r2": sk.r2_score(labels, predictions, sample_weight=row),
            "mape": sk.mean_absolute_percentage_error(labels, predictions, sample_weight=row),
        }
        assert {name: metrics[name](row[np.newaxis])[0] for name in expected} == pytest.approx(expected, rel=1e-9)
        repeated = np.repeat(np.abs(labels - predictions), row.astype(int))
        assert metrics["medae"](row[np.newaxis])[0] == pytest.approx(np.median(repeated), rel=1e-12)


def test_auc_of_the_textbook_example() -> None:
    """Fawcett 2006, "An introduction to ROC analysis", figure 3: 20 scored instances with an area of 0.68;
    the threshold 0.54 gives the point (0.1, 0.5), of the highest accuracy, 70 %."""
    scores = [0.9, 0.8, 0.7, 0.6, 0.55, 0.54, 0.53, 0.52, 0.51, 0.505]
    scores += [0.4, 0.39, 0.38, 0.37, 0.36, 0.35, 0.34, 0.33, 0.30, 0.1]
    marks = "ppnpppnnpnpnpnnnpnpn"
    labels = [mark == "p" for mark in marks]
    metrics = binary_metrics(labels, [score >= 0.54 for score in scores], np.array(scores), True)
    values = measure(metrics, 20)
    assert values["roc_auc"] == pytest.approx(0.68)
    assert (values["accuracy"], values["recall"]) == pytest.approx((0.70, 0.50))


def test_calibration_error_of_a_known_case() -> None:
    """Two bins of equal size, off by 0.3 and by 0.1: 0.2 on average."""
    scores = np.array([0.2] * 10 + [0.9] * 10)
    labels = [True] * 5 + [False] * 5 + [True] * 8 + [False] * 2
    assert measure(binary_metrics(labels, labels, scores, True), 20)["ece"] == pytest.approx(0.2)


def test_what_is_not_defined_is_nan_not_a_warning() -> None:
    one_class = measure(binary_metrics([False] * 5, [False] * 5, np.full(5, 0.2), True), 5)
    assert np.isnan([one_class[name] for name in ("roc_auc", "average_precision", "precision", "recall")]).all()
    assert one_class["accuracy"] == 1.0
    constant = measure(regression_metrics(np.zeros(4), np.ones(4)), 4)
    assert np.isnan([constant["r2"], constant["mape"], constant["wape"]]).all()
    assert constant["rmse"] == 1.0


def test_mape_leaves_out_zeros_and_wape_does_not_need_to() -> None:
    values = measure(regression_metrics(np.array([0.0, 10.0, -20.0]), np.array([1.0, 11.0, -18.0])), 3)
    assert values["mape"] == pytest.approx(0.1)
    assert values["wape"] == pytest.approx(4 / 30)


def test_without_probabilities_only_label_metrics_are_there() -> None:
    assert set(binary_metrics([True, False], [True, True], None, True)) == {"accuracy", "f1", "precision", "recall"}


def test_every_metric_has_a_direction(binary: tuple[list[bool], Floats]) -> None:
    labels, scores = binary
    made = {
        *binary_metrics(labels, labels, scores, True),
        *multiclass_metrics(["a", "b", "c"], ["a", "b", "c"], np.eye(3), ["a", "b", "c"]),
        *regression_metrics(scores, scores),
    }
    assert made == set(HIGHER_IS_BETTER)
