"""The trust list: every type on it is needed by an estimator that comes back from skops as it was."""

import functools
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder, TargetEncoder
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from carrara.inference.date_parts import DateParts
from carrara.inference.trusted import TRUSTED_TYPES


def _base() -> LogisticRegression:
    return LogisticRegression()


def _boosting_with_categories() -> Any:
    encode = ColumnTransformer([("kind", OrdinalEncoder(), ["kind"])], remainder="drop")
    return make_pipeline(encode, HistGradientBoostingClassifier(categorical_features=[0], max_iter=5))


ESTIMATORS = {
    "adaboost": AdaBoostClassifier(n_estimators=3),
    "boosting with categories": _boosting_with_categories(),
    "calibrated": make_pipeline(ColumnTransformer([("n", "passthrough", ["a"])]), CalibratedClassifierCV(_base())),
    "dates": make_pipeline(ColumnTransformer([("t", DateParts(), ["at"])]), DecisionTreeClassifier(max_depth=3)),
    "extra trees": ExtraTreesClassifier(5),
    "filled": make_pipeline(SimpleImputer(add_indicator=True), _base()),
    "forest": RandomForestClassifier(5),
    "gradient boosting": GradientBoostingClassifier(n_estimators=5),
    "log": make_pipeline(FunctionTransformer(np.log1p), _base()),
    "network": MLPClassifier((4,), max_iter=5),
    "neighbours": KNeighborsClassifier(),
    "stacking": StackingClassifier([("a", _base()), ("b", DecisionTreeClassifier())]),
    "stochastic": SGDClassifier(loss="log_loss"),
    "support vectors": SVC(),
    "target encoding": make_pipeline(ColumnTransformer([("k", TargetEncoder(), ["kind"])]), _base()),
    "voting": VotingClassifier([("a", _base()), ("b", DecisionTreeClassifier())]),
}
NEEDS_ALL_COLUMNS = {"boosting with categories", "calibrated", "dates", "target encoding"}


@functools.cache
def _types_in(name: str) -> frozenset[str]:
    """Fits the estimator, saves it, checks that it comes back as it was; what it holds beyond what skops trusts."""
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"a": generator.random(80), "b": generator.random(80)})
    if name in NEEDS_ALL_COLUMNS:
        frame["kind"] = pd.Series(generator.choice(["x", "y", "z"], 80)).astype("str")
        frame["at"] = pd.date_range("2013-01-01", periods=80, freq="h").as_unit("us")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fits that are this short on purpose
        fitted = ESTIMATORS[name].fit(frame, frame["a"] > 0.5)
    data = skops.io.dumps(fitted)
    loaded = skops.io.loads(data, trusted=sorted(TRUSTED_TYPES))
    assert (loaded.predict(frame) == fitted.predict(frame)).all()
    return frozenset(skops.io.get_untrusted_types(data=data))


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_common_estimators_can_be_saved_without_pickle(name: str) -> None:
    assert _types_in(name) <= TRUSTED_TYPES


def test_nothing_is_trusted_that_no_estimator_needs() -> None:
    needed = frozenset().union(*map(_types_in, ESTIMATORS))
    assert needed == TRUSTED_TYPES


@pytest.mark.parametrize("function", [np.log1p, str.upper])
def test_functions_are_trusted_by_name_not_because_something_may_hold_them(function: Any) -> None:
    data = skops.io.dumps(FunctionTransformer(functools.partial(function)))
    unknown = set(skops.io.get_untrusted_types(data=data)) - TRUSTED_TYPES
    assert bool(unknown) is (function is not np.log1p), unknown
