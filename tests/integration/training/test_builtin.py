"""Built-in trainers on real flights with nulls, times, many levels; saved with skops and loaded again."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.metrics import roc_auc_score
from tests.support.flights import flights_folder
from tests.support.training import example

from carrara.contracts.contract import ColumnType, InputColumn, ModelContract
from carrara.contracts.training import BuiltinName
from carrara.inference.frames import conform, to_frame
from carrara.inference.trusted import TRUSTED_TYPES
from carrara.inference.wire_values import wire_columns
from carrara.kernel.errors import Invalid
from carrara.training.builtin import Fitted, fit_builtin, loss_by_step
from carrara.training.failures import TrainingFault

INPUTS = [
    InputColumn(name="dep_delay", type=ColumnType.INTEGER, nullable=True),
    InputColumn(name="distance", type=ColumnType.INTEGER),
    InputColumn(name="temp", type=ColumnType.NUMBER, nullable=True),
    InputColumn(name="carrier", type=ColumnType.TEXT),
    InputColumn(name="tailnum", type=ColumnType.TEXT, nullable=True),
    InputColumn(name="plane_engine", type=ColumnType.TEXT, nullable=True),
    InputColumn(name="time_hour", type=ColumnType.TIMESTAMP),
    InputColumn(name="date", type=ColumnType.DATE, nullable=True),
    InputColumn(name="is_long", type=ColumnType.BOOLEAN, nullable=True),
]
CONTRACT = ModelContract(task="classification", inputs=INPUTS)
TRAINERS: list[BuiltinName] = ["logistic", "random_forest", "hist_gradient_boosting"]
SMALL: dict[str, dict[str, Any]] = {
    "logistic": {},
    "ridge": {},
    "random_forest": {"n_estimators": 20},
    "hist_gradient_boosting": {"max_iter": 30},
}


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    """4,500 flights of January that arrived."""
    table = example("prepare").flights(flights_folder())
    table = table[(table["month"] == 1) & table["arr_delay"].notna()].iloc[::6].reset_index(drop=True)
    table["date"] = table["time_hour"].dt.tz_localize(None).dt.normalize()
    table.loc[table.index % 50 == 0, "date"] = pd.NaT
    table["is_long"] = (table["distance"] > 1000).astype("object").mask(table.index % 40 == 0, None)
    return table


@pytest.fixture(scope="module")
def frame(flights: pd.DataFrame) -> pd.DataFrame:
    return conform(flights.astype({"dep_delay": "float64"}), CONTRACT)


@pytest.fixture(scope="module")
def late(flights: pd.DataFrame) -> np.ndarray:
    return np.asarray(flights["arr_delay"].to_numpy(dtype=np.float64) > 15)


def _fit(trainer: BuiltinName, frame: pd.DataFrame, labels: Any, task: Any = "classification", **params: Any) -> Fitted:
    given = {**SMALL[trainer], **params}
    return fit_builtin(trainer, frame, labels, inputs=INPUTS, task=task, params=given, seed=3)


def _saved_and_loaded(fitted: Fitted, folder: Path) -> Any:
    path = folder / "model.skops"
    skops.io.dump(fitted.estimator, path)
    return skops.io.load(path, trusted=sorted(TRUSTED_TYPES))


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_classifier_learns_and_answers_the_same_once_saved(
    trainer: BuiltinName, frame: pd.DataFrame, late: np.ndarray, tmp_path: Path
) -> None:
    fitted = _fit(trainer, frame[:3000], late[:3000])
    before = fitted.estimator.predict_proba(frame[3000:])
    assert roc_auc_score(late[3000:], before[:, 1]) > 0.85
    assert (_saved_and_loaded(fitted, tmp_path).predict_proba(frame[3000:]) == before).all()


@pytest.mark.parametrize("trainer", ["ridge", "random_forest", "hist_gradient_boosting"])
def test_a_regressor_learns_and_answers_the_same_once_saved(
    trainer: BuiltinName, frame: pd.DataFrame, flights: pd.DataFrame, tmp_path: Path
) -> None:
    delays = flights["arr_delay"].to_numpy(dtype=np.float64)
    fitted = _fit(trainer, frame[:3000], delays[:3000], task="regression")
    assert fitted.estimator.score(frame[3000:], delays[3000:]) > 0.6
    before = fitted.estimator.predict(frame[3000:])
    assert (_saved_and_loaded(fitted, tmp_path).predict(frame[3000:]) == before).all()


@pytest.mark.parametrize("trainer", TRAINERS)
def test_rows_as_requests_bring_them_get_the_same_answers(
    trainer: BuiltinName, frame: pd.DataFrame, late: np.ndarray
) -> None:
    model = _fit(trainer, frame, late).estimator
    together = model.predict_proba(frame[:60])
    requested = to_frame(wire_columns(frame[:60], CONTRACT), CONTRACT)
    assert (model.predict_proba(requested) == together).all()
    alone = [model.predict_proba(requested.iloc[[row]])[0] for row in range(20)]
    assert np.allclose(alone, together[:20], rtol=0, atol=1e-12)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_missing_and_unseen_values_get_an_answer(trainer: BuiltinName, frame: pd.DataFrame, late: np.ndarray) -> None:
    model = _fit(trainer, frame, late).estimator
    row = {name: values[0] for name, values in wire_columns(frame[:1], CONTRACT).items()}
    nothing = {**row, **{column.name: None for column in INPUTS if column.nullable}}
    unseen = {**row, "carrier": "ZZ", "tailnum": "never", "plane_engine": "", "time_hour": "2099-01-01T00:00:00Z"}
    rows = {name: [nothing[name], unseen[name]] for name in row}
    answers = model.predict_proba(to_frame(rows, CONTRACT))
    assert np.isfinite(answers).all()


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_seed_decides(trainer: BuiltinName, frame: pd.DataFrame, late: np.ndarray) -> None:
    one, other = (_fit(trainer, frame[:1500], late[:1500]).estimator.predict_proba(frame) for _ in range(2))
    assert (one == other).all()


@pytest.mark.parametrize(
    ("treatment", "note"),
    [("group", "are one level"), ("hash", "hashed into 16 columns"), ("drop", "left out: ")],
)
def test_many_levels_are_treated_as_asked_and_noted(
    treatment: str, note: str, frame: pd.DataFrame, late: np.ndarray
) -> None:
    fitted = _fit("logistic", frame, late, high_cardinality=treatment, hash_features=16, max_categories=30)
    assert any(text.startswith("tailnum: ") and note in text for text in fitted.notes), fitted.notes


def test_what_only_names_rows_is_left_out(frame: pd.DataFrame, late: np.ndarray) -> None:
    named = frame.assign(tailnum=[f"row {n}" for n in range(len(frame))])
    fitted = _fit("hist_gradient_boosting", named, late)
    assert any("tailnum: left out" in note for note in fitted.notes)


def test_a_column_that_is_always_null_is_left_out(frame: pd.DataFrame, late: np.ndarray) -> None:
    fitted = _fit("logistic", frame.assign(temp=np.nan), late)
    assert "temp: left out: null in every training row" in fitted.notes


def test_text_and_number_classes_come_back_as_they_were(frame: pd.DataFrame) -> None:
    labels = np.where(frame["distance"] > 1500, "far", np.where(frame["distance"] > 700, "middle", "near"))
    model = _fit("hist_gradient_boosting", frame, labels).estimator
    assert list(model.classes_) == ["far", "middle", "near"]
    assert set(model.predict(frame[:200])) <= {"far", "middle", "near"}


def test_a_feature_with_infinity_is_refused(frame: pd.DataFrame, late: np.ndarray) -> None:
    with pytest.raises(TrainingFault, match="'temp' holds Infinity") as caught:
        _fit("logistic", frame.assign(temp=np.inf), late)
    assert caught.value.code == "infinite_feature"


def test_without_a_usable_feature_there_is_nothing_to_train(frame: pd.DataFrame, late: np.ndarray) -> None:
    empty = frame.copy()
    for column in INPUTS:
        empty[column.name] = pd.Series([None] * len(frame), dtype=object)
    with pytest.raises(TrainingFault) as caught:
        _fit("logistic", empty, late)
    assert caught.value.code == "no_usable_features"


def test_a_model_that_did_not_converge_says_so(frame: pd.DataFrame, late: np.ndarray) -> None:
    assert any("converge" in note for note in _fit("logistic", frame, late, max_iter=2).notes)


def test_the_loss_falls_step_by_step(frame: pd.DataFrame, late: np.ndarray) -> None:
    model = _fit("hist_gradient_boosting", frame, late).estimator
    losses = loss_by_step(model, frame, late, lambda truth, table: float(np.mean((table[:, 1] - truth) ** 2)))
    assert len(losses) == 30
    assert losses[-1] < losses[0] / 2


def test_unknown_parameters_are_named(frame: pd.DataFrame, late: np.ndarray) -> None:
    with pytest.raises(Invalid, match="did you mean 'n_estimators'"):
        _fit("random_forest", frame, late, n_estimator=3)
