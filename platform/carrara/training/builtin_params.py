"""The parameters of the built-in trainers: what each takes, in which range, and what it is when absent."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from carrara.contracts.documents import parse_document
from carrara.contracts.training import BuiltinName
from carrara.contracts.wire import Wire


class ColumnParams(Wire):
    """How columns become numbers; every built-in trainer takes these.

    A text column with more than `max_categories` levels keeps the most common ones and treats the rest as one level
    (`group`), is hashed into `hash_features` columns (`hash`), or is left out (`drop`). One whose values are nearly all
    different tells rows apart, not kinds of rows, and is left out unless `high_cardinality` is `hash`.
    """

    max_categories: int = Field(100, ge=2, le=250)
    high_cardinality: Literal["group", "hash", "drop"] = "group"
    hash_features: int = Field(64, ge=4, le=4096)


class LogisticParams(ColumnParams):
    C: float = Field(1.0, gt=0, allow_inf_nan=False)
    max_iter: int = Field(1000, ge=1, le=100_000)
    class_weight: Literal["balanced"] | None = None


class RidgeParams(ColumnParams):
    alpha: float = Field(1.0, ge=0, allow_inf_nan=False)


class RandomForestParams(ColumnParams):
    max_categories: int = Field(250, ge=2, le=250)
    n_estimators: int = Field(200, ge=1, le=5000)
    max_depth: int | None = Field(None, ge=1, le=1000)
    min_samples_leaf: int = Field(5, ge=1)
    max_features: Literal["sqrt", "log2"] | float | None = "sqrt"
    class_weight: Literal["balanced"] | None = None


class HistGradientBoostingParams(ColumnParams):
    max_categories: int = Field(250, ge=2, le=250)
    learning_rate: float = Field(0.1, gt=0, le=10)
    max_iter: int = Field(200, ge=1, le=10_000)
    max_leaf_nodes: int | None = Field(31, ge=2)
    max_depth: int | None = Field(None, ge=1)
    min_samples_leaf: int = Field(20, ge=1)
    l2_regularization: float = Field(0.0, ge=0, allow_inf_nan=False)
    max_features: float = Field(1.0, gt=0, le=1)
    early_stopping: bool = False
    class_weight: Literal["balanced"] | None = None


PARAMS: Mapping[BuiltinName, type[ColumnParams]] = {
    "logistic": LogisticParams,
    "ridge": RidgeParams,
    "random_forest": RandomForestParams,
    "hist_gradient_boosting": HistGradientBoostingParams,
}


def builtin_params(trainer: BuiltinName, params: Mapping[str, Any]) -> ColumnParams:
    """The trainer's parameters with its defaults filled in; `Invalid` names each that is unknown or out of range."""
    return parse_document(PARAMS[trainer], dict(params), "spec.params")
