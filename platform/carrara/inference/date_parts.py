"""Calendar parts of times: the one transformer of Carrara's own that a saved model may hold.

scikit-learn has no transformer for dates, and a function of ours inside a FunctionTransformer would be code that a
model file names. So it is this class: on the trust list, without state of its own, and never changed once released.
A model without time columns holds library classes only and can be served without Carrara.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import _check_feature_names, check_is_fitted

_DAY = np.timedelta64(1, "D")
PARTS = ("day", "year", "month", "day_of_month", "weekday", "day_of_year", "hour")


class DateParts(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Times to numbers: for each column, in the order of `PARTS`, with the part of the day only if `clock`.

    `day` counts whole days since 1970-01-01, `weekday` from Monday = 0, `hour` with its fraction. A missing time has
    NaN in all parts. Takes a frame of `datetime64` columns; gives float64 [rows, columns * parts].
    """

    def __init__(self, clock: bool = True) -> None:
        self.clock = clock

    def fit(self, X: pd.DataFrame, y: Any = None) -> "DateParts":  # noqa: ARG002, N803  # scikit-learn's names
        """Remembers the names of the columns."""
        _check_feature_names(self, X, reset=True)
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: pd.DataFrame) -> npt.NDArray[np.float64]:  # noqa: N803
        check_is_fitted(self, "n_features_in_")
        _check_feature_names(self, X, reset=False)
        return np.column_stack([part for name in X.columns for part in self._parts(X[name])])

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """`<column>_<part>`, in the order of the result."""
        names = self.feature_names_in_ if input_features is None else input_features
        return np.asarray([f"{name}_{part}" for name in names for part in self._part_names()], dtype=object)

    def _part_names(self) -> tuple[str, ...]:
        return PARTS if self.clock else PARTS[:-1]

    def _parts(self, times: "pd.Series[Any]") -> list[npt.NDArray[np.float64]]:
        when = pd.DatetimeIndex(times)
        midnight = when.normalize()
        parts = {
            "day": (midnight.to_numpy() - np.datetime64("1970-01-01")) / _DAY,
            "year": when.year,
            "month": when.month,
            "day_of_month": when.day,
            "weekday": when.day_of_week,
            "day_of_year": when.day_of_year,
            "hour": (when.to_numpy() - midnight.to_numpy()) / np.timedelta64(1, "h"),
        }
        return [np.asarray(parts[name], dtype=np.float64) for name in self._part_names()]
