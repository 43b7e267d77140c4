"""What a training child says of good and bad input. It runs here as a function; `test_main_path` has it confined."""

import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from carrara.contracts.contract import ModelContract
from carrara.inference.python_model import load_model
from carrara.training.golden import UNSEEN


def test_a_model_folder_a_contract_and_golden_candidates_come_out(run: Any, tmp_path: Path) -> None:
    told = run()
    result = told.result
    contract = ModelContract.model_validate(result["contract"])
    assert contract.classes == [False, True]
    assert contract.example is not None
    assert None not in contract.example.values()
    assert result["train_rows"] > 1000
    assert result["dropped_null_targets"] > 0
    assert (tmp_path / "model" / "input_example.json").exists()
    assert "scikit-learn==" in (tmp_path / "model" / "requirements.txt").read_text()
    candidates = pq.read_table(tmp_path / "golden_candidates.parquet").to_pydict()
    assert list(candidates) == [column.name for column in contract.inputs]
    assert 200 < len(candidates["carrier"]) <= 500
    assert UNSEEN in candidates["carrier"]
    model = load_model(tmp_path / "model", contract, "sklearn")
    assert len(model.predict(candidates)["probabilities"]) == len(candidates["carrier"])


def test_the_loss_curve_and_progress_are_told(run: Any) -> None:
    told = run(trainer={"builtin": "hist_gradient_boosting"}, params={"max_iter": 15})
    curve = [event["value"] for event in told.named("metric") if event["name"] == "train_log_loss"]
    assert len(curve) == 15
    assert curve[-1] < curve[0]
    fractions = [event["fraction"] for event in told.named("progress")]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)


def test_the_users_code_sees_training_rows_only_and_may_log(run: Any) -> None:
    told = run(
        "from sklearn.linear_model import LogisticRegression\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.impute import SimpleImputer\n"
        "import pyarrow.compute as pc\n"
        "def train(context):\n"
        "    assert pc.max(context.table['time_hour']).as_py().day < 23\n"
        "    assert len(context.table) == len(context.features) == len(context.target)\n"
        "    assert list(context.features.columns) == context.feature_names == ['dep_delay', 'distance']\n"
        "    context.log_metric('rows', len(context.features))\n"
        "    context.log_param('why', 'to see')\n"
        "    context.progress(0.5, 'half')\n"
        "    context.log('hello')\n"
        "    model = make_pipeline(SimpleImputer(), LogisticRegression())\n"
        "    return model.fit(context.features, context.target)\n",
        features=["dep_delay", "distance"],
    )
    assert told.result["metrics"]["rows"] == told.result["train_rows"]
    assert told.result["params"] == {"why": "to see"}
    [half] = [event["fraction"] for event in told.named("progress") if event["message"] == "half"]
    assert half == pytest.approx(0.45)  # between reading, 0.1, and saving, 0.8


FIT = "from sklearn.linear_model import *\nfrom sklearn.ensemble import *\n"


@pytest.mark.parametrize(
    ("source", "reason", "says"),
    [
        ("def train(context): return None", "wrong_return_type", "returned None"),
        ("def train(context): return [1, 2]", "wrong_return_type", "a list"),
        (FIT + "def train(context): return LogisticRegression", "wrong_return_type", "the class LogisticRegression"),
        (FIT + "def train(context): return LogisticRegression()", "not_fitted", "call fit"),
        (
            FIT + "def train(context): return Ridge().fit(context.features[['distance']], context.target)",
            "wrong_return_type",
            "no classification estimator",
        ),
        ("def train(context): context.log_metric('loss', float('nan'), step=3)", "non_finite_metric", "at step 3"),
        ("def trian(context): return None", "entry_not_found", "did you mean 'trian'"),
        (
            FIT + "def train(context):\n"
            "    X = context.features[['distance']].assign(squared=lambda f: f.distance ** 2)\n"
            "    return LogisticRegression().fit(X, context.target)",
            "cannot_predict",
            "put what you derive",
        ),
        (
            "from sklearn.base import BaseEstimator, ClassifierMixin\n"
            "class Own(ClassifierMixin, BaseEstimator):\n"
            "    def fit(self, X, y): self.classes_ = [False, True]; return self\n"
            "    def predict(self, X): return X['distance'].to_numpy() > 500\n"
            "def train(context): return Own().fit(context.features, context.target)",
            "untrusted_model",
            "Own",
        ),
        (
            FIT + "from sklearn.pipeline import make_pipeline\n"
            "from sklearn.preprocessing import FunctionTransformer\n"
            "def train(context):\n"
            "    pick = FunctionTransformer(lambda X: X[['distance']])\n"
            "    return make_pipeline(pick, LogisticRegression()).fit(context.features, context.target)",
            "untrusted_model",
            "saved safely",
        ),
        (
            "import mlflow.pyfunc\n"
            "class Own(mlflow.pyfunc.PythonModel):\n"
            "    def predict(self, context, model_input, params=None): return [True] * len(model_input)\n"
            "def train(context): return Own()",
            "untrusted_model",
            "allows_pickle",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_wrong_with_the_users_trainer_is_said(run: Any, source: str, reason: str, says: str) -> None:
    fault = run(source).fault
    assert fault["reason"] == reason, fault
    assert says in fault["message"]


def test_what_the_users_code_raises_passes(run: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        run("def train(context): 1 / 0")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"target": {"column": "arr_delay", "greater_than": 5000}}, "constant_target"),
        ({"split": {"kind": "time", "column": "time_hour", "holdout_from": "2000-01-01T00:00:00Z"}}, "empty_training"),
        ({"split": {"kind": "time", "column": "time_hour", "holdout_from": "2050-01-01T00:00:00Z"}}, "empty_holdout"),
        ({"target": {"column": "flight"}}, "too_many_classes"),
        ({"target": {"column": "temp"}}, "bad_target"),
        ({"params": {"C": -1}}, "bad_document"),
    ],
)
def test_what_is_wrong_with_the_rows_is_said(run: Any, changes: dict[str, Any], reason: str) -> None:
    assert run(**changes).fault["reason"] == reason


@pytest.mark.filterwarnings("ignore")
def test_with_pickle_allowed_the_users_own_class_is_saved_and_needs_no_module(run: Any, tmp_path: Path) -> None:
    told = run(
        "from sklearn.base import BaseEstimator, ClassifierMixin\n"
        "import numpy as np\n"
        "class Own(ClassifierMixin, BaseEstimator):\n"
        "    def fit(self, X, y): self.classes_ = np.array([False, True]); return self\n"
        "    def predict(self, X): return X['distance'].to_numpy() > 500\n"
        "def train(context): return Own().fit(context.features, context.target)",
        allows_pickle=True,
    )
    assert told.result["serialization"] == "pickle"
    for module in (tmp_path / "code").glob("user_*.py"):
        module.unlink()
        sys.modules.pop(module.stem, None)
    contract = ModelContract.model_validate(told.result["contract"])
    model = load_model(tmp_path / "model", contract, "sklearn", serialization="pickle")
    assert model.predict({k: [v] for k, v in (contract.example or {}).items()})["prediction"] in ([True], [False])


@pytest.mark.filterwarnings("ignore")
def test_with_pickle_allowed_a_python_model_is_saved(run: Any, tmp_path: Path) -> None:
    told = run(
        "import mlflow.pyfunc\n"
        "class Own(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input, params=None): return (model_input['dep_delay'] > 15).tolist()\n"
        "def train(context): return Own()",
        allows_pickle=True,
    )
    assert (told.result["flavor"], told.result["serialization"]) == ("pyfunc", "other")
    contract = ModelContract.model_validate(told.result["contract"])
    assert contract.classes == [False, True]


@pytest.mark.filterwarnings("ignore")
def test_edge_rows_that_the_model_cannot_answer_are_noted_not_golden(run: Any, tmp_path: Path) -> None:
    told = run(
        FIT + "from sklearn.compose import ColumnTransformer\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import OneHotEncoder\n"
        "def train(context):\n"
        "    encode = ColumnTransformer([('c', OneHotEncoder(handle_unknown='error'), ['carrier'])])\n"
        "    return make_pipeline(encode, LogisticRegression()).fit(context.features, context.target)",
    )
    assert any("carrier unseen" in note for note in told.result["notes"]), told.result["notes"]
    carriers = pq.read_table(tmp_path / "golden_candidates.parquet")["carrier"].to_pylist()
    assert UNSEEN not in carriers
