"""How sure a metric is: percentile bootstrap intervals (Efron & Tibshirani 1993, "An Introduction to the Bootstrap",
chapter 13; for a paired difference both models are scored on the same resampled rows, chapter 10).

Rows are drawn with replacement and taken to be independent: where they come in groups, intervals are too narrow.
"""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy as np

from carrara.contracts.evaluation import Interval
from carrara.evaluation.metrics import Floats, Metric

LEVEL = 0.95
MIN_DEFINED = 0.5
_CHUNK_BYTES = 16 << 20

Samples: TypeAlias = Mapping[str, Floats]


def resampled_counts(rows: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each row is drawn, in chunks [resamples of this chunk, rows]; the same seed gives the same draws."""
    generator = np.random.default_rng(seed)
    at_once = max(1, min(resamples, _CHUNK_BYTES // (8 * rows)))
    for start in range(0, resamples, at_once):
        chunk = np.empty((min(at_once, resamples - start), rows))
        for resample in chunk:
            resample[:] = np.bincount(generator.integers(0, rows, rows), minlength=rows)
        yield chunk


def measure(metrics: Mapping[str, Metric], rows: int) -> dict[str, float]:
    """Each metric with every row counted once; NaN where it is not defined."""
    once = np.ones((1, rows))
    return {name: float(metric(once)[0]) for name, metric in metrics.items()}


def sample(metrics: Mapping[str, Metric], rows: int, resamples: int, seed: int) -> Samples:
    """Each metric on each resample: [resamples]. Two models given the same rows and seed see the same resamples."""
    chunks = [
        {name: metric(counts) for name, metric in metrics.items()} for counts in resampled_counts(rows, resamples, seed)
    ]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) if chunks else np.empty(0) for name in metrics}


def intervals(values: Mapping[str, float], samples: Samples) -> dict[str, Interval]:
    """The 95 % percentile interval of each value."""
    return {name: _interval(value, samples[name]) for name, value in values.items()}


def differences(
    candidate: tuple[Mapping[str, float], Samples], baseline: tuple[Mapping[str, float], Samples]
) -> dict[str, Interval]:
    """Candidate minus baseline, for the metrics that both have, from the same resamples."""
    (own, own_samples), (other, other_samples) = candidate, baseline
    return {
        name: _interval(own[name] - other[name], own_samples[name] - other_samples[name])
        for name in own
        if name in other
    }


def _interval(value: float, samples: Floats) -> Interval:
    """Resamples where the metric is not defined are left out; without half of them there is no interval."""
    if not np.isfinite(value):
        return Interval(value=None)
    defined = samples[np.isfinite(samples)]
    if len(defined) == 0 or len(defined) < MIN_DEFINED * len(samples):
        return Interval(value=value)
    lower, upper = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value=value, lower=float(lower), upper=float(upper))
