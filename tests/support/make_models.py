"""Makes model folders as data scientists would, in a process of its own: importing mlflow warns and takes seconds.

Run as `python -m tests.support.make_models FOLDER`; each model gets a folder of its own name below it.
"""

import json
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tests.support.example_contract import CONTRACT

from carrara.inference.trusted import TRUSTED_TYPES
from carrara.training.golden import write_rows
from carrara.training.saving import save_model

PINNED = ["scikit-learn"]


class Noise(mlflow.pyfunc.PythonModel):
    """Answers anew each time."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return np.random.default_rng().uniform(size=len(model_input))


class Doubled(mlflow.pyfunc.PythonModel):
    """An honest model that is a pickle."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return model_input["distance"] * 2


class Mixed(mlflow.pyfunc.PythonModel):
    """Answers a row by what else is in the request."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return model_input["distance"] - model_input["distance"].mean()


def rows(count: int = 200) -> tuple[pd.DataFrame, "pd.Series[bool]"]:
    """Distances and carriers, and who was late: longer flights of carrier b."""
    random = np.random.default_rng(7)
    frame = pd.DataFrame({"distance": random.uniform(100, 2000, count), "carrier": random.choice(list("abc"), count)})
    frame["carrier"] = frame["carrier"].astype("str")
    return frame, (frame["distance"] > 1000) & (frame["carrier"] == "b")


def pipeline(last: Any, *, unknown: str = "ignore") -> Pipeline:
    """The estimator behind an encoder and a scaler."""
    columns = make_column_transformer(
        (StandardScaler(), ["distance"]), (OneHotEncoder(handle_unknown=unknown), ["carrier"])
    )
    return make_pipeline(columns, last)


def make_all(root: Path) -> None:
    frame, late = rows()
    classifier = pipeline(LogisticRegression()).fit(frame, late)
    regressor = pipeline(LinearRegression()).fit(frame, frame["distance"] * 0.1)
    trusted = sorted(TRUSTED_TYPES)
    skops = {"serialization_format": "skops", "skops_trusted_types": trusted, "pip_requirements": PINNED}
    signed = {"signature": infer_signature(frame, late), **skops}

    save_model(classifier, root / "trained", CONTRACT, frame.head(1), allows_pickle=False, code=None)
    write_rows(frame.head(20).to_dict("records"), CONTRACT, root / "candidates.parquet")
    mlflow.sklearn.save_model(classifier, root / "adopted", input_example=frame.head(3), **signed)
    mlflow.sklearn.save_model(
        regressor, root / "regressor", signature=infer_signature(frame, frame["distance"]), **skops
    )
    mlflow.sklearn.save_model(classifier, root / "unsigned", **skops)
    mlflow.sklearn.save_model(
        classifier, root / "tensor", signature=infer_signature(np.zeros((2, 2)), np.zeros(2)), **skops
    )
    strict = pipeline(LogisticRegression(), unknown="error").fit(
        frame.assign(carrier=frame["carrier"].str.upper()), late
    )
    mlflow.sklearn.save_model(strict, root / "no_example", **signed)
    mlflow.sklearn.save_model(
        classifier,
        root / "pickled",
        signature=signed["signature"],
        input_example=frame.head(3),
        pip_requirements=PINNED,
        serialization_format="cloudpickle",
    )
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    for name, model in {"noise": Noise(), "doubled": Doubled(), "mixed": Mixed()}.items():
        mlflow.pyfunc.save_model(
            root / name,
            python_model=model,
            signature=infer_signature(frame, frame["distance"]),
            input_example=frame.head(3),
            pip_requirements=PINNED,
        )
    wrong = root / "wrong_answer"
    mlflow.sklearn.save_model(classifier, wrong, input_example=frame.head(3), **signed)
    (wrong / "output_example.json").write_text(json.dumps({"predictions": [True, True, True]}))
    right = root / "right_answer"
    mlflow.sklearn.save_model(classifier, right, input_example=frame.head(3), **signed)
    (right / "output_example.json").write_text(json.dumps({"predictions": classifier.predict(frame.head(3)).tolist()}))


if __name__ == "__main__":
    make_all(Path(sys.argv[1]))
