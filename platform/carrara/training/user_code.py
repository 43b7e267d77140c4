"""Finds the user's own trainer in their bundle, and judges what it returned."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import mlflow.pyfunc
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from carrara.contracts.documents import did_you_mean
from carrara.contracts.training import Task
from carrara.training.failures import TrainingFault


def load_entry(entry: str) -> Callable[[Any], Any]:
    """The function named `module:function`. An exception of the module itself is the user's, and passes."""
    module_name, _, function_name = entry.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise TrainingFault(
            f"the bundle has no module {module_name!r}; the entry is <module>:<function>, from the bundle's top folder",
            code="entry_not_found",
            entry=entry,
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        functions = [name for name, _ in inspect.getmembers(module, inspect.isfunction)]
        raise TrainingFault(
            f"module {module_name!r} has no function {function_name!r}{did_you_mean(function_name, functions)}",
            code="entry_not_found",
            entry=entry,
            functions=functions[:50],
        )
    return function  # type: ignore[no-any-return]  # what it takes and gives is checked when it is called


def check_returned(model: Any, task: Task) -> None:
    """`TrainingFault` unless it is a fitted scikit-learn estimator of this task, or an mlflow PythonModel."""
    if isinstance(model, mlflow.pyfunc.PythonModel):
        return
    if isinstance(model, type) or not isinstance(model, BaseEstimator) or not callable(getattr(model, "predict", None)):
        raise TrainingFault(
            f"train(context) returned {_shown(model)}; return a fitted scikit-learn estimator that can predict, or an"
            " mlflow.pyfunc.PythonModel",
            code="wrong_return_type",
            returned=type(model).__name__,
        )
    fits = is_classifier(model) if task == "classification" else is_regressor(model)
    if not fits:
        raise TrainingFault(
            f"train(context) returned {_shown(model)}, which is no {task} estimator; the spec says task: {task}",
            code="wrong_return_type",
            returned=type(model).__name__,
        )
    try:
        check_is_fitted(model)
    except NotFittedError as error:
        raise TrainingFault(
            f"train(context) returned {_shown(model)} that is not fitted; call fit before you return it",
            code="not_fitted",
        ) from error


def _shown(model: Any) -> str:
    if model is None:
        return "None"
    return f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
