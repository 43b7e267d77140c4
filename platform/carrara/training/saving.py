"""Turns a fitted estimator into an MLflow model folder that Carrara will load again."""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import cloudpickle
import mlflow.pyfunc
import mlflow.sklearn
import pandas as pd
import skops.io
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from carrara.contracts.contract import ColumnType, InputColumn, ModelContract
from carrara.inference.mlmodel import Serialization
from carrara.inference.trusted import TRUSTED_TYPES
from carrara.training.failures import TrainingFault

Flavor = Literal["sklearn", "pyfunc"]
_PACKAGES = ("mlflow", "numpy", "pandas", "scikit-learn", "scipy", "skops")
_TYPES = {
    ColumnType.INTEGER: DataType.long,
    ColumnType.NUMBER: DataType.double,
    ColumnType.BOOLEAN: DataType.boolean,
    ColumnType.TEXT: DataType.string,
    ColumnType.TIMESTAMP: DataType.datetime,
    ColumnType.DATE: DataType.datetime,
}


@dataclass(frozen=True)
class Saved:
    """How the model was saved."""

    flavor: Flavor
    serialization: Serialization


def save_model(
    model: Any,
    folder: Path,
    contract: ModelContract,
    example: pd.DataFrame,
    *,
    allows_pickle: bool,
    code: Path | None,
) -> Saved:
    """Saves a scikit-learn estimator as skops, or with pickle where the project allows it and skops cannot.

    `code` is the user's bundle: what a pickle needs of it is written into the pickle. `TrainingFault` names the types
    that are not trusted, or says what else cannot be saved.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=pd.errors.Pandas4Warning)  # MLflow's use of pandas, not the user's
        return _save(model, folder, contract, example, allows_pickle=allows_pickle, code=code)


def _save(
    model: Any, folder: Path, contract: ModelContract, example: pd.DataFrame, *, allows_pickle: bool, code: Path | None
) -> Saved:
    common = {
        "signature": _signature(contract),
        "input_example": example,
        "pip_requirements": [f"{name}=={installed}" for name, installed in packages().items()],
    }
    if isinstance(model, mlflow.pyfunc.PythonModel):
        if not allows_pickle:
            raise _needs_pickle("an mlflow PythonModel can only be saved with pickle")
        _pickle_by_value(code)
        mlflow.pyfunc.save_model(path=str(folder), python_model=model, **common)
        return Saved("pyfunc", "other")
    if allows_pickle and _why_not_skops(model):
        _pickle_by_value(code)
        mlflow.sklearn.save_model(model, str(folder), serialization_format="cloudpickle", **common)
        return Saved("sklearn", "pickle")
    trusted = sorted(TRUSTED_TYPES)
    try:
        mlflow.sklearn.save_model(
            model, str(folder), serialization_format="skops", skops_trusted_types=trusted, **common
        )
    except MlflowException as error:
        raise _needs_pickle(_why_not_skops(model) or str(error)) from error
    return Saved("sklearn", "skops")


def packages() -> dict[str, str]:
    """The libraries that a model made here depends on, with their versions."""
    return {name: version(name) for name in _PACKAGES}


def _why_not_skops(model: Any) -> str | None:
    try:
        data = skops.io.dumps(model)
    except Exception as error:  # noqa: BLE001  # skops raises whatever the object's own state raises
        return f"skops cannot save it: {type(error).__name__}: {error}"
    unknown = sorted(set(skops.io.get_untrusted_types(data=data)) - TRUSTED_TYPES)
    return f"it holds types that are not on Carrara's list: {', '.join(unknown[:20])}" if unknown else None


def _needs_pickle(why: str) -> TrainingFault:
    return TrainingFault(
        f"the model cannot be saved safely: {why}. Use estimators of scikit-learn, or let an admin of the project"
        " set allows_pickle",
        code="untrusted_model",
        why=why,
    )


def _pickle_by_value(code: Path | None) -> None:
    """A class of the user's module would be pickled by its name, and the module is not there when the model serves."""
    if code is None:
        return
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file is not None and Path(file).is_relative_to(code):
            cloudpickle.register_pickle_by_value(module)


def _signature(contract: ModelContract) -> ModelSignature:
    inputs = [ColSpec(_data_type(column), column.name, required=not column.nullable) for column in contract.inputs]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema([ColSpec(_output_type(contract.classes))]))


def _data_type(column: InputColumn) -> DataType:
    is_float = column.type is ColumnType.INTEGER and column.nullable  # pandas has no missing integer
    return DataType.double if is_float else _TYPES[column.type]


def _output_type(classes: Sequence[Any] | None) -> DataType:
    kinds = {type(label) for label in classes or [0.0]}
    named = {bool: DataType.boolean, int: DataType.long, str: DataType.string}
    return named.get(kinds.pop(), DataType.double) if len(kinds) == 1 else DataType.string
