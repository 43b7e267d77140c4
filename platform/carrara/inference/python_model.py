"""Loading a model folder with the libraries it was made with. Only ever imported in a confined child or a job."""

import importlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import skops.io

from carrara.contracts.contract import ModelContract
from carrara.inference.failures import BadModelOutput, LoadFailed, ModelRaised, UnsafeModel
from carrara.inference.frames import to_frame
from carrara.inference.label_shortcut import LabelShortcut
from carrara.inference.mlmodel import MlModel, Serialization, path_inside, read_mlmodel
from carrara.inference.outputs import checked_outputs
from carrara.inference.plain_values import plain_list, plain_rows
from carrara.inference.trusted import TRUSTED_TYPES
from carrara.kernel.errors import CarraraError, Invalid

_SIGNATURE_DTYPES = {
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "boolean": "bool",
    "datetime": "datetime64[ns]",
}


class Predictor(Protocol):
    """Outputs of a frame in the contract's order, before they are checked."""

    def __call__(self, frame: pd.DataFrame) -> dict[str, list[Any]]: ...


class PythonModel:
    """A loaded model. Not thread-safe: one call at a time."""

    def __init__(self, contract: ModelContract, predictor: Predictor, classes: list[Any] | None) -> None:
        self._contract = contract
        self._predictor = predictor
        self.classes = classes

    def predict(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Outputs by name, one entry a row, as `outputs.checked_outputs` describes them; all plain Python values.

        `Invalid` when the columns do not fit the contract, `ModelRaised` when the model's code raises,
        `BadModelOutput` when its answer is not what the contract says.
        """
        frame = to_frame(columns, self._contract)
        if len(frame) == 0:
            return {"prediction": []}
        try:
            outputs = self._predictor(frame)
        except CarraraError:
            raise
        except Exception as error:  # a model's code may raise anything; it is named, and its own fault
            raise ModelRaised(f"the model raised {_shown(error)}", exception=type(error).__name__) from error
        return checked_outputs(outputs, len(frame), self._contract)


def load_model(
    model_dir: Path, contract: ModelContract, flavor: str, *, serialization: Serialization = "skops"
) -> PythonModel:
    """The model in an MLflow folder, by its `sklearn` flavor or any other through `pyfunc` (which imports mlflow).

    A scikit-learn model loads as `serialization` says and in no other way: a pickle runs code, so whoever allowed it
    says "pickle". skops files may hold only the types of `trusted.py`; what the model declares itself is ignored.
    `UnsafeModel` names what is not trusted; `LoadFailed` has the library's own words.
    """
    mlmodel = read_mlmodel(model_dir)
    try:
        if flavor == "sklearn":
            estimator = _load_estimator(model_dir, mlmodel, serialization)
            classes = getattr(estimator, "classes_", None)
            predictor: Predictor = _SklearnPredictor(estimator, contract)
            return PythonModel(contract, predictor, None if classes is None else plain_list(classes))
        if flavor == "pyfunc":
            return PythonModel(contract, _PyfuncPredictor(model_dir, mlmodel), None)
    except CarraraError:
        raise
    except Exception as error:  # unpickling raises whatever the model's classes raise
        raise LoadFailed(f"loading the model raised {_shown(error)}", exception=type(error).__name__) from error
    raise Invalid(f"flavor {flavor!r}: expected sklearn or pyfunc", code="unknown_flavor")


def _load_estimator(model_dir: Path, mlmodel: MlModel, serialization: Serialization) -> Any:
    section = mlmodel.flavors.get("sklearn")
    if section is None:
        raise LoadFailed(f"the model has no sklearn flavor, only {sorted(mlmodel.flavors)}")
    if mlmodel.serialization != serialization:
        raise UnsafeModel(
            f"the model file is {mlmodel.serialization}, and only {serialization} was allowed for this release;"
            " save it with serialization_format='skops'",
            serialization=mlmodel.serialization,
        )
    path = path_inside(model_dir, section.get("pickled_model"))
    if serialization == "pickle":
        pickle = importlib.import_module("cloudpickle")
        with path.open("rb") as stream:
            return pickle.load(stream)
    unknown = sorted(set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED_TYPES))
    if unknown:
        raise UnsafeModel(
            f"the model holds types that Carrara does not trust: {', '.join(unknown[:20])}"
            + (f" and {len(unknown) - 20} more" if len(unknown) > 20 else ""),
            types=unknown[:20],
        )
    return skops.io.load(path, trusted=sorted(TRUSTED_TYPES))


class _SklearnPredictor:
    def __init__(self, estimator: Any, contract: ModelContract) -> None:
        if not callable(getattr(estimator, "predict", None)):
            raise LoadFailed(f"a {type(estimator).__name__} cannot predict")
        self._estimator = estimator
        self._names = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
        has_probabilities = contract.task == "classification" and contract.classes is not None
        self._order: list[int] | None = None
        self._shortcut: LabelShortcut | None = None
        if has_probabilities and callable(getattr(estimator, "predict_proba", None)):
            self._order = _class_order(plain_list(estimator.classes_), contract.classes or [])
            self._shortcut = LabelShortcut.of(estimator)

    def __call__(self, frame: pd.DataFrame) -> dict[str, list[Any]]:
        if self._names and set(self._names) <= set(frame.columns):
            frame = frame[self._names]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="X has feature names")  # fitted on an array: order is enough
            if self._order is None:
                return {"prediction": plain_rows(self._estimator.predict(frame))}
            table = self._estimator.predict_proba(frame)
            if getattr(table, "ndim", 0) != 2 or table.shape[1] != len(self._order):
                raise BadModelOutput(f"predict_proba gave no table of {len(self._order)} classes for each row")
            labels = self._labels(frame, table)
        return {"prediction": plain_rows(labels), "probabilities": table[:, self._order].tolist()}

    def _labels(self, frame: pd.DataFrame, table: Any) -> Any:
        known = self._shortcut.labels(table) if self._shortcut is not None else None
        if known is not None:
            return known
        labels = self._estimator.predict(frame)
        if self._shortcut is not None:
            self._shortcut.compare(table, labels)
        return labels


def _class_order(own: list[Any], contract: Sequence[Any]) -> list[int]:
    if sorted(map(repr, own)) != sorted(map(repr, contract)):
        raise LoadFailed(f"the model's classes are {own[:20]}, its contract says {list(contract)[:20]}")
    return [[repr(label) for label in own].index(repr(label)) for label in contract]


class _PyfuncPredictor:
    def __init__(self, model_dir: Path, mlmodel: MlModel) -> None:
        if "python_function" not in mlmodel.flavors:
            raise LoadFailed(f"the model has no python_function flavor, only {sorted(mlmodel.flavors)}")
        pyfunc = importlib.import_module("mlflow.pyfunc")
        self._model = pyfunc.load_model(str(model_dir))
        schema = self._model.metadata.get_input_schema()
        columns = schema.inputs if schema is not None and schema.has_input_names() else []
        self._types = {column.name: getattr(column.type, "name", "") for column in columns}

    def __call__(self, frame: pd.DataFrame) -> dict[str, list[Any]]:
        return {"prediction": plain_rows(self._model.predict(self._as_signed(frame)))}

    def _as_signed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """MLflow refuses int64 where its signature says int32, and NaN where it says an integer."""
        wanted = {name: _SIGNATURE_DTYPES.get(kind) for name, kind in self._types.items() if name in frame}
        whole = {
            name: dtype
            for name, dtype in wanted.items()
            if dtype is not None and not (dtype[0] in "ib" and frame[name].isna().any())
        }
        return frame.astype(whole)


def _shown(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= 500 else text[:497] + "..."
