"""The profile of a column of numbers or times, from its values in pieces."""

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from carrara.contracts.datasets import Histogram, StoredType
from carrara.datasets.distinct import RELATIVE_ERROR, DistinctCount

BINS = 20
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
EXACT_VALUES = 4 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Pieces = Callable[[], Iterator[np.ndarray]]


def profile_numbers(pieces: Pieces, count: int, *, exact_values: int = EXACT_VALUES) -> dict[str, Any]:
    """The fields of `ColumnProfile` for numbers.

    `pieces` gives the `count` values without nulls, int64 or float64, each time anew. Up to `exact_values` everything
    is exact; beyond, quantiles are those of every n-th value, and many different values are estimated.
    """
    stride = max(1, -(-count // exact_values))
    moments = _Moments(counts_distinct=stride > 1)
    sampled = [moments.see(piece)[-seen % stride :: stride] for seen, piece in _with_offsets(pieces(), moments)]
    sample = np.sort(np.concatenate(sampled)) if sampled else np.empty(0)
    found = {"nan": moments.nan, "infinite": moments.infinite, **moments.distinct_fields(sample)}
    if not moments.count:
        return found
    minimum, maximum = moments.minimum.item(), moments.maximum.item()
    edges = _edges(minimum, maximum)
    counts = _bin(sample, edges) if stride == 1 else sum(_bin(np.sort(_finite(piece)), edges) for piece in pieces())
    return {
        **found,
        "minimum": minimum,
        "maximum": maximum,
        "mean": _told(moments.mean),
        "std": _told(moments.deviation),
        "quantiles": {str(share): _quantile(sample, share) for share in QUANTILES},
        "quantiles_are_exact": stride == 1,
        "histogram": Histogram(edges=edges.tolist(), counts=np.asarray(counts).tolist()),
    }


def profile_times(pieces: Pieces, count: int, kind: StoredType) -> dict[str, Any]:
    """The fields of `ColumnProfile` for times and dates, whose values are microseconds since 1970-01-01."""
    found = profile_numbers(pieces, count)
    told = {name: found[name] for name in ("distinct", "distinct_is_exact", "distinct_error")}
    if "minimum" not in found:
        return told
    edges = np.linspace(found["minimum"], found["maximum"], BINS + 1 if found["minimum"] < found["maximum"] else 2)
    counts = sum(_bin(np.sort(piece), edges) for piece in pieces())
    return {
        **told,
        "minimum": moment_text(found["minimum"], kind),
        "maximum": moment_text(found["maximum"], kind),
        "histogram": Histogram(
            edges=[moment_text(round(edge), StoredType.TIMESTAMP) for edge in edges],
            counts=np.asarray(counts).tolist(),
        ),
    }


def moment_text(microseconds: int, kind: StoredType) -> str:
    """ISO 8601, with Z only for a time that is known to be in UTC; years outside 1 to 9999 as their microseconds."""
    try:
        moment = _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return f"{microseconds} us"
    if kind is StoredType.DATE:
        return moment.date().isoformat()
    return moment.replace(tzinfo=None).isoformat() + ("Z" if kind is StoredType.TIMESTAMP_UTC else "")


class _Moments:
    """Count, mean and sum of squared deviations, merged piece by piece (Chan, Golub, LeVeque 1983, eq. 1.5)."""

    def __init__(self, *, counts_distinct: bool) -> None:
        self.count = self.nan = self.infinite = 0
        self.mean = self._squares = 0.0
        self.minimum: Any = None
        self.maximum: Any = None
        self._distinct = DistinctCount() if counts_distinct else None

    def see(self, values: np.ndarray) -> np.ndarray:
        """Takes the next values; gives back those that are finite."""
        finite = _finite(values)
        if finite.size < values.size:
            nan = int(np.isnan(values).sum())
            self.nan += nan
            self.infinite += values.size - finite.size - nan
        if not finite.size:
            return finite
        with np.errstate(over="ignore", invalid="ignore"):  # what leaves the range of a float is told as None
            mean = float(finite.mean(dtype=np.float64))
            total, step = self.count + finite.size, mean - self.mean
            self._squares += float(np.square(finite - mean).sum()) + step * step * self.count * finite.size / total
            self.mean += step * finite.size / total
        self.count = total
        self.minimum = finite.min() if self.minimum is None else min(self.minimum, finite.min())
        self.maximum = finite.max() if self.maximum is None else max(self.maximum, finite.max())
        if self._distinct is not None:
            self._distinct.see_bits(finite + 0.0 if finite.dtype.kind == "f" else finite)  # -0.0 equals 0.0
        return finite

    @property
    def deviation(self) -> float:
        """Of the sample, n - 1; NaN for fewer than two values."""
        return math.sqrt(self._squares / (self.count - 1)) if self.count > 1 and self._squares >= 0 else math.nan

    def distinct_fields(self, sorted_values: np.ndarray) -> dict[str, Any]:
        if self._distinct is None:
            changes = np.count_nonzero(sorted_values[1:] != sorted_values[:-1])
            return {"distinct": int(changes) + bool(self.count), "distinct_is_exact": True, "distinct_error": None}
        is_exact = self._distinct.is_exact
        error = None if is_exact else RELATIVE_ERROR
        return {"distinct": self._distinct.count, "distinct_is_exact": is_exact, "distinct_error": error}


def _with_offsets(pieces: Iterator[np.ndarray], moments: _Moments) -> Iterator[tuple[int, np.ndarray]]:
    for piece in pieces:
        yield moments.count, piece


def _finite(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind != "f":
        return values
    keep = np.isfinite(values)
    return values if keep.all() else values[keep]


def _edges(minimum: float, maximum: float) -> np.ndarray:
    """One bin a value for few whole numbers, else equal bins; a single bin for a single value."""
    if minimum == maximum:
        return np.array([minimum, maximum], dtype=np.float64)
    if isinstance(minimum, int) and maximum - minimum < BINS:
        return np.arange(minimum, maximum + 2) - 0.5
    return np.linspace(minimum / 2, maximum / 2, BINS + 1) * 2  # halves: the range itself may overflow


def _bin(sorted_values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    inner = np.searchsorted(sorted_values, edges[1:-1], side="left")
    return np.diff(np.concatenate(([0], inner, [sorted_values.size])))


def _quantile(sorted_values: np.ndarray, share: float) -> float:
    """Linear between the two nearest ranks: type 7 of Hyndman and Fan, The American Statistician 50 (1996)."""
    rank = (sorted_values.size - 1) * share
    low = int(rank)
    high = min(low + 1, sorted_values.size - 1)
    weight = rank - low
    return float(sorted_values[low]) * (1 - weight) + float(sorted_values[high]) * weight


def _told(value: float) -> float | None:
    return value if math.isfinite(value) else None
