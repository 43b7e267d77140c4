"""Metrics by level of a column: a model that is good on the whole can be bad for some."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from carrara.contracts.evaluation import SliceMetrics
from carrara.evaluation.bootstrap import measure
from carrara.evaluation.scores import Answers, metrics_for

MAX_LEVELS = 20
MIN_ROWS = 20
QUANTILES = (0.25, 0.5, 0.75)


def slice_metrics(name: str, column: pa.ChunkedArray, labels: Sequence[Any], answers: Answers) -> list[SliceMetrics]:
    """The most common levels, those of at least 20 rows, most rows first. Numbers with many values are cut at their
    quartiles."""
    texts = _levels(column)
    counted = sorted(pc.value_counts(texts).to_pylist(), key=lambda level: (-level["counts"], str(level["values"])))
    found = []
    for level in counted[:MAX_LEVELS]:
        if level["counts"] < MIN_ROWS:
            break
        chosen = pc.is_null(texts) if level["values"] is None else pc.fill_null(pc.equal(texts, level["values"]), False)
        rows = np.flatnonzero(np.asarray(chosen.to_numpy(zero_copy_only=False)))
        own_labels = [labels[row] for row in rows.tolist()]
        values = measure(metrics_for(own_labels, answers.take(rows)), len(rows))
        shown = {metric: value if np.isfinite(value) else None for metric, value in values.items()}
        found.append(SliceMetrics(column=name, level=level["values"], rows=len(rows), metrics=shown))
    return found


def _levels(column: pa.ChunkedArray) -> pa.Array:
    values = column.combine_chunks()
    is_number = pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
    if not is_number or pc.count_distinct(values).as_py() <= MAX_LEVELS:
        return values.cast(pa.string())
    edges = np.unique(pc.quantile(values, list(QUANTILES)).to_numpy(zero_copy_only=False))
    names = [
        f"< {edges[0]:g}",
        *(f"{a:g} to {b:g}" for a, b in pairwise(edges)),
        f">= {edges[-1]:g}",
    ]
    numbers = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    bins = np.searchsorted(edges, numbers, side="right")
    return pa.array([None if np.isnan(n) else names[k] for n, k in zip(numbers, bins, strict=True)], pa.string())
