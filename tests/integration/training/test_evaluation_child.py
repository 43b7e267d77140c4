"""What an evaluation finds out, its child run as a function on models that a training child made."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn import metrics as sk
from tests.support.told import Told
from tests.support.training import SPEC

from carrara.contracts.datasets import ColumnSchema
from carrara.evaluation import child
from carrara.evaluation.outcome import EvaluateOutcome

Snapshot = tuple[Path, list[ColumnSchema]]


@pytest.fixture
def evaluate(snapshot: Snapshot, tmp_path: Path) -> Any:
    """Evaluates the model in `tmp_path/model` on its own holdout."""

    def go(trained: Mapping[str, Any], **changes: Any) -> Told:
        model = {
            "model_dir": str(tmp_path / "model"),
            **{key: trained[key] for key in ("contract", "flavor", "serialization")},
        }
        argument = {
            "candidate": model,
            "baseline": None,
            "data_files": [str(snapshot[0])],
            "split": SPEC["split"],
            "target": SPEC["target"],
            "task": "classification",
            "slices": [],
            "resamples": 50,
            "seed": 0,
            "outputs": str(tmp_path),
        }
        told = Told(json.loads(json.dumps({**argument, **changes})))
        child.run(told)  # type: ignore[arg-type]  # the part of a channel that the child uses
        return told

    return go


def test_binary_metrics_intervals_slices_and_latency(run: Any, evaluate: Any, tmp_path: Path) -> None:
    told = evaluate(run().result, slices=["origin", "dep_delay", "plane_engine"])
    outcome = EvaluateOutcome.model_validate(told.result)
    rows = pq.read_table(tmp_path / "predictions.parquet")
    labels, scores = rows["label"].to_numpy(zero_copy_only=False), rows["probability_true"].to_numpy()
    assert outcome.metrics["roc_auc"].value == pytest.approx(sk.roc_auc_score(labels, scores))
    assert outcome.metrics["accuracy"].value == pytest.approx(np.mean(labels == rows["prediction"].to_numpy()))
    assert outcome.positive_class is True
    origins = {part.level: part for part in outcome.slices if part.column == "origin"}
    assert set(origins) == {"EWR", "JFK", "LGA"}
    assert sum(part.rows for part in origins.values()) == outcome.rows
    assert any(part.level is None for part in outcome.slices if part.column == "plane_engine")
    assert len([part for part in outcome.slices if part.column == "dep_delay"]) == 4
    assert 0 < outcome.latency.p50_milliseconds <= outcome.latency.p99_milliseconds


def test_several_classes(run: Any, evaluate: Any) -> None:
    target = {"column": "origin"}
    trained = run(target=target, features=["distance", "carrier", "temp"]).result
    outcome = EvaluateOutcome.model_validate(evaluate(trained, target=target).result)
    assert {"roc_auc_macro", "f1_macro", "log_loss", "ece"} <= set(outcome.metrics)
    assert outcome.positive_class is None
    assert (outcome.metrics["roc_auc_macro"].value or 0) > 0.7


def test_regression(run: Any, evaluate: Any, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"target": {"column": "arr_delay"}, "task": "regression"}
    trained = run(trainer={"builtin": "ridge"}, **changes).result
    outcome = EvaluateOutcome.model_validate(evaluate(trained, **changes).result)
    rows = pq.read_table(tmp_path / "predictions.parquet")
    expected = sk.root_mean_squared_error(rows["label"].to_numpy(), rows["prediction"].to_numpy())
    assert outcome.metrics["rmse"].value == pytest.approx(expected)
    assert set(outcome.metrics) == {"rmse", "mae", "r2", "medae", "mape", "wape"}


def test_a_model_against_itself_differs_in_nothing(run: Any, evaluate: Any, snapshot: Snapshot, tmp_path: Path) -> None:
    trained = run().result
    baseline = {
        "model_dir": str(tmp_path / "model"),
        **{key: trained[key] for key in ("contract", "flavor", "serialization")},
        "trained_on": {"data_files": [str(snapshot[0])], "split": SPEC["split"]},
    }
    outcome = EvaluateOutcome.model_validate(evaluate(trained, baseline=baseline).result)
    assert outcome.baseline is not None
    assert {(d.value, d.lower, d.upper) for d in outcome.baseline.differences.values()} == {(0.0, 0.0, 0.0)}
    assert outcome.baseline.same_answers == outcome.rows
    assert outcome.baseline.shared_rows == 0


def test_rows_that_were_trained_on_are_counted(run: Any, evaluate: Any, snapshot: Snapshot, tmp_path: Path) -> None:
    trained = run().result
    later = {"kind": "time", "column": "time_hour", "holdout_from": "2013-01-27T05:00:00Z"}
    candidate = {
        "model_dir": str(tmp_path / "model"),
        **{key: trained[key] for key in ("contract", "flavor", "serialization")},
        "trained_on": {"data_files": [str(snapshot[0])], "split": later},
    }
    outcome = EvaluateOutcome.model_validate(evaluate(trained, candidate=candidate).result)
    assert outcome.shared_rows is not None
    assert 0 < outcome.shared_rows < outcome.rows + outcome.dropped_null_targets


def test_a_live_release_that_cannot_be_scored_is_a_note_not_a_failure(run: Any, evaluate: Any, tmp_path: Path) -> None:
    trained = run().result
    missing = {**trained["contract"], "inputs": [*trained["contract"]["inputs"], {"name": "snow", "type": "number"}]}
    baseline = {
        "model_dir": str(tmp_path / "model"),
        "contract": missing,
        "flavor": "sklearn",
        "serialization": "skops",
    }
    outcome = EvaluateOutcome.model_validate(evaluate(trained, baseline=baseline).result)
    assert outcome.baseline is None
    assert any("live release cannot be scored" in note and "'snow'" in note for note in outcome.notes)


def test_an_empty_holdout_and_a_missing_model_are_said(run: Any, evaluate: Any, tmp_path: Path) -> None:
    trained = run().result
    never = {"kind": "time", "column": "time_hour", "holdout_from": "2050-01-01T00:00:00Z"}
    assert evaluate(trained, split=never).fault["reason"] == "empty_holdout"
    (tmp_path / "model" / "model.skops").unlink()
    assert evaluate(trained).fault["reason"] == "load_failed"
