"""Intervals: how often they hold the truth, that pairs help, that a seed decides."""

import numpy as np
import pytest

from carrara.evaluation.bootstrap import differences, intervals, measure, resampled_counts, sample
from carrara.evaluation.metrics import binary_metrics, regression_metrics


def test_ninety_five_percent_intervals_cover_the_truth_about_that_often() -> None:
    """100 simulated holdouts of 200 rows; the true mean absolute error of N(0, 1) is sqrt(2 / pi)."""
    generator = np.random.default_rng(7)
    truth = np.sqrt(2 / np.pi)
    covered = 0
    for trial in range(100):
        errors = generator.normal(0, 1, 200)
        metrics = {"mae": regression_metrics(np.zeros(200), errors)["mae"]}
        found = intervals(measure(metrics, 200), sample(metrics, 200, 200, trial))["mae"]
        assert found.lower is not None
        assert found.upper is not None
        covered += found.lower <= truth <= found.upper
    assert 88 <= covered <= 99


def test_paired_differences_are_narrower_than_the_intervals_of_each() -> None:
    generator = np.random.default_rng(0)
    labels = (generator.random(2000) < 0.3).tolist()
    base = np.clip(0.3 * np.array(labels) + generator.normal(0.35, 0.2, 2000), 0.001, 0.999)
    better = np.clip(base + 0.02 * np.array(labels), 0.001, 0.999)
    scored = []
    for scores in (better, base):
        metrics = binary_metrics(labels, (scores > 0.5).tolist(), scores, True)
        scored.append((measure(metrics, 2000), sample(metrics, 2000, 200, 5)))
    own = intervals(*scored[0])["roc_auc"]
    difference = differences(scored[0], scored[1])["roc_auc"]
    assert difference.lower is not None
    assert difference.upper is not None
    assert own.lower is not None
    assert own.upper is not None
    assert 0 < difference.lower < difference.upper
    assert difference.upper - difference.lower < (own.upper - own.lower) / 5


def test_each_resample_draws_as_many_rows_as_there_are() -> None:
    chunks = list(resampled_counts(50, 30, seed=1))
    counts = np.concatenate(chunks)
    assert counts.shape == (30, 50)
    assert (counts.sum(axis=1) == 50).all()


def test_the_seed_decides_and_chunks_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(resampled_counts(100, 20, seed=9)))
    monkeypatch.setattr("carrara.evaluation.bootstrap._CHUNK_BYTES", 8 * 100 * 3)
    pieces = list(resampled_counts(100, 20, seed=9))
    assert len(pieces) == 7
    assert (np.concatenate(pieces) == whole).all()


def test_no_interval_without_resamples_or_where_the_metric_is_rarely_defined() -> None:
    metrics = {
        "roc_auc": binary_metrics([True] + [False] * 3, [True] * 4, np.array([0.9, 0.1, 0.2, 0.3]), True)["roc_auc"]
    }
    without = intervals(measure(metrics, 4), sample(metrics, 4, 0, 0))["roc_auc"]
    assert (without.value, without.lower) == (1.0, None)
    one_class = {"roc_auc": binary_metrics([False] * 4, [False] * 4, np.full(4, 0.5), True)["roc_auc"]}
    found = intervals(measure(one_class, 4), sample(one_class, 4, 50, 0))["roc_auc"]
    assert (found.value, found.lower) == (None, None)
