"""Carrara's own trainers for tables: a plain scikit-learn Pipeline of library classes, fitted to the training rows.

Linear models: numbers filled with the median, an indicator for what was missing, scaled; categories one column a level.
Trees: numbers as they are, missing ones too; categories as codes, which gradient boosting splits as sets. A missing or
unseen category is a level of its own or none at all, never an error. Times: calendar parts
(`carrara.inference.date_parts`).
"""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction import FeatureHasher
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from carrara.contracts.contract import InputColumn
from carrara.contracts.training import BuiltinName, Task
from carrara.inference.date_parts import DateParts
from carrara.training.builtin_params import (
    ColumnParams,
    HistGradientBoostingParams,
    LogisticParams,
    RandomForestParams,
    RidgeParams,
    builtin_params,
)
from carrara.training.columns import ColumnPlan, plan_columns

MAX_THREADS = 8
_LINEAR = ("logistic", "ridge")
_SHARED = set(ColumnParams.model_fields)


@dataclass(frozen=True)
class Fitted:
    """A fitted pipeline, what it was fitted with (defaults filled in), and what the trainer decided by itself."""

    estimator: Pipeline
    params: dict[str, Any]
    notes: tuple[str, ...]


def fit_builtin(
    trainer: BuiltinName,
    frame: pd.DataFrame,
    labels: npt.NDArray[Any],
    *,
    inputs: list[InputColumn],
    task: Task,
    params: dict[str, Any],
    seed: int,
) -> Fitted:
    """Fits to `frame` [rows, inputs], typed as `inference.frames` gives it, and `labels` [rows] without nulls.

    The same rows, parameters and seed give the same model. `Invalid` for parameters, `TrainingFault` for the data.
    """
    checked = builtin_params(trainer, params)
    plan = plan_columns(frame, inputs, checked)
    pipeline = Pipeline([("columns", _columns(trainer, plan, checked)), ("model", _model(checked, plan, task, seed))])
    notes = list(plan.notes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        pipeline.fit(frame, labels)
    notes += sorted({str(w.message).splitlines()[0] for w in caught if issubclass(w.category, ConvergenceWarning)})
    if "n_jobs" in pipeline.named_steps["model"].get_params():
        pipeline.named_steps["model"].set_params(n_jobs=None)  # threads cost a single prediction more than they give
    return Fitted(pipeline, checked.model_dump(), tuple(notes))


def loss_by_step(
    fitted: Pipeline, frame: pd.DataFrame, labels: npt.NDArray[Any], loss: Callable[[Any, Any], float]
) -> list[float]:
    """The loss on these rows after each boosting step; empty for models that are not fitted in steps."""
    model = fitted.named_steps["model"]
    columns = fitted.named_steps["columns"].transform(frame)
    if isinstance(model, HistGradientBoostingClassifier):
        return [loss(labels, table) for table in model.staged_predict_proba(columns)]
    if isinstance(model, HistGradientBoostingRegressor):
        return [loss(labels, values) for values in model.staged_predict(columns)]
    return []


def _columns(trainer: BuiltinName, plan: ColumnPlan, params: ColumnParams) -> ColumnTransformer:
    is_linear = trainer in _LINEAR
    parts: list[tuple[str, Any, list[str]]] = []

    def add(name: str, transformer: Any, columns: tuple[str, ...]) -> None:
        if columns:
            parts.append((name, transformer, list(columns)))

    add("categories", _one_column_a_level(params) if is_linear else _codes(params), plan.categories)
    add("numbers", Pipeline(_filled_and_scaled()) if is_linear else "passthrough", plan.numbers)
    for name, columns, clock in (("timestamps", plan.timestamps, True), ("dates", plan.dates, False)):
        dates = DateParts(clock=clock)
        add(name, Pipeline([("parts", dates), *_filled_and_scaled()]) if is_linear else dates, columns)
    for position, column in enumerate(plan.hashed):
        add(f"hashed_{position}", _hashed(params), (column,))
    return ColumnTransformer(parts, sparse_threshold=0.3 if is_linear else 0.0)


def _filled_and_scaled() -> list[tuple[str, Any]]:
    return [("fill", SimpleImputer(strategy="median", add_indicator=True)), ("scale", StandardScaler())]


def _one_column_a_level(params: ColumnParams) -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=params.max_categories)


def _codes(params: ColumnParams) -> OrdinalEncoder:
    return OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
        encoded_missing_value=np.nan,
        max_categories=params.max_categories,
    )


def _hashed(params: ColumnParams) -> Pipeline:
    hasher = FeatureHasher(n_features=params.hash_features, input_type="string", alternate_sign=False)
    return Pipeline([("fill", SimpleImputer(strategy="constant", fill_value="")), ("hash", hasher)])


def _model(params: ColumnParams, plan: ColumnPlan, task: Task, seed: int) -> Any:
    own = params.model_dump(exclude=_SHARED)
    match params:
        case LogisticParams():
            return LogisticRegression(**own, random_state=seed)
        case RidgeParams():
            return Ridge(**own, random_state=seed)
        case RandomForestParams():
            own["n_jobs"] = min(os.cpu_count() or 1, MAX_THREADS)
            forest = RandomForestClassifier if task == "classification" else RandomForestRegressor
            return forest(**_for_task(own, task), random_state=seed)
        case HistGradientBoostingParams():
            boosting = HistGradientBoostingClassifier if task == "classification" else HistGradientBoostingRegressor
            categories = list(range(len(plan.categories))) or None  # they are first in the transformer's output
            return boosting(**_for_task(own, task), categorical_features=categories, random_state=seed)
        case _:
            raise TypeError(f"{type(params).__name__} belongs to no trainer")


def _for_task(own: dict[str, Any], task: Task) -> dict[str, Any]:
    return own if task == "classification" else {key: value for key, value in own.items() if key != "class_weight"}
