"""A training, inside its confined child: rows in, a model folder and golden candidates out."""

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from sklearn import metrics as sk

from carrara.contracts.contract import ModelContract
from carrara.contracts.training import BuiltinTrainer, EntryTrainer, PinnedTraining
from carrara.datasets.labelled import LabelledRows, Labels, SnapshotFiles, to_pandas
from carrara.inference.frames import conform
from carrara.inference.plain_values import plain_list
from carrara.inference.python_model import PythonModel, load_model
from carrara.inference.wire_values import wire_columns
from carrara.kernel.errors import CarraraError, Invalid
from carrara.registry.outcome import SAVED_ANSWER_FILE
from carrara.sandbox.child import ChildChannel
from carrara.training.builtin import fit_builtin, loss_by_step
from carrara.training.context import Emit, TrainContext
from carrara.training.failures import TrainingFault
from carrara.training.golden import answerable, golden_rows, write_rows
from carrara.training.model_contract import contract_for, with_what_was_seen
from carrara.training.outcome import GOLDEN_FILE, MODEL_FOLDER, TrainOutcome, TrainTask
from carrara.training.saving import Saved, packages, save_model
from carrara.training.user_code import check_returned, load_entry

MAX_CLASSES = 200
SCORED_ROWS = 20_000
CHECKED_ROWS = 200
CURVE_ROWS = 5_000
FIT_FROM, FIT_UNTIL = 0.1, 0.8


@dataclass(frozen=True)
class _Fit:
    """What came out of either kind of trainer."""

    model: Any
    params: dict[str, str]
    notes: tuple[str, ...]
    seconds: float


class _Events:
    """Passes events on, and remembers the last value of each metric."""

    def __init__(self, channel: ChildChannel) -> None:
        self._channel = channel
        self.metrics: dict[str, float] = {}

    def emit(self, event: dict[str, Any]) -> None:
        if event["event"] == "metric":
            self.metrics[event["name"]] = event["value"]
        self._channel.emit(event)

    def metric(self, name: str, value: float, step: int = 0) -> None:
        self.emit({"event": "metric", "name": name, "value": float(value), "step": step})

    def progress(self, fraction: float, message: str) -> None:
        self.emit({"event": "progress", "fraction": fraction, "message": message})


def run(channel: ChildChannel) -> None:
    """The entry of a training job. A fault of the input becomes a `user_error`; what the user's code raises passes."""
    events = _Events(channel)
    try:
        outcome = _train(TrainTask.model_validate(channel.argument), events)
    except (TrainingFault, Invalid) as fault:
        channel.emit(
            {"event": "user_error", "reason": fault.code, "message": fault.message, "facts": _plain(fault.facts)}
        )
        return
    channel.emit({"event": "result", "value": outcome.model_dump(mode="json")})


def _train(task: TrainTask, events: _Events) -> TrainOutcome:
    spec = task.spec
    events.progress(0.0, "reading the training rows")
    features = spec.features or []
    files = SnapshotFiles([Path(task.train_file)])
    train = files.labelled(features, target=spec.target, task=spec.task)
    unlabelled = SnapshotFiles([Path(task.unlabelled_file)]).read()
    _check_some("training", len(train.labels), train.dropped, spec)
    _check_some("holdout", len(unlabelled), task.holdout_dropped, spec)
    _check_labels(train, spec)
    contract = contract_for(task.columns, features, spec.task)
    frame = conform(to_pandas(train.table.select(features)), contract)
    contract = with_what_was_seen(contract, frame)
    events.progress(FIT_FROM, f"fitting on {len(frame)} rows")
    fit = _fit(task, events, frame, train, contract, lambda: files.take(train.positions))
    contract = _with_classes(contract, fit.model, train.labels)
    events.progress(FIT_UNTIL, "saving the model")
    folder = Path(task.outputs) / MODEL_FOLDER
    code = Path(task.code) if task.code else None
    example = frame.iloc[[int(frame.notna().all(axis=1).to_numpy().argmax())]]
    saved = save_model(fit.model, folder, contract, example, allows_pickle=spec.allows_pickle, code=code)
    loaded = _load_again(folder, contract, saved)
    _check_same_answers(fit.model, loaded, frame.head(CHECKED_ROWS), contract)
    answer = loaded.predict(wire_columns(example, contract))["prediction"]
    (folder / SAVED_ANSWER_FILE).write_text(json.dumps({"predictions": answer}, allow_nan=False))
    _score_training_rows(fit.model, frame, train.labels, spec, events)
    events.progress(0.9, "choosing golden rows")
    real, edges = golden_rows(conform(to_pandas(unlabelled), contract), contract)
    answered, cannot = answerable(edges, loaded.predict)
    write_rows([*real, *answered], contract, Path(task.outputs) / GOLDEN_FILE)
    events.progress(1.0, "fitted and saved")
    return TrainOutcome(
        flavor=saved.flavor,
        serialization=saved.serialization,
        contract=contract,
        params=fit.params,
        metrics=events.metrics,
        notes=[*fit.notes, *cannot],
        packages=packages(),
        train_rows=len(frame),
        dropped_null_targets=train.dropped,
        fit_seconds=fit.seconds,
    )


def _check_some(part: str, labelled: int, dropped: int, spec: PinnedTraining) -> None:
    if labelled == 0:
        why = f": all {dropped} have a null {spec.target.column!r}" if dropped else ""
        raise TrainingFault(f"there are no {part} rows{why}; change the split", code=f"empty_{part}")


def _check_labels(train: LabelledRows, spec: PinnedTraining) -> None:
    target = spec.target.column
    levels = np.unique(train.labels)
    if len(levels) == 1:
        limit = spec.target.greater_than
        is_label = "" if limit is None else f" (greater_than {limit:g})"
        raise TrainingFault(
            f"target {target!r}{is_label} is {plain_list(levels)[0]!r} in all {len(train.labels)} training rows:"
            " there is nothing to learn; choose another target, threshold or split",
            code="constant_target",
            column=target,
        )
    if spec.task == "classification" and len(levels) > MAX_CLASSES:
        raise TrainingFault(
            f"target {target!r} has {len(levels)} classes, at most {MAX_CLASSES} are possible; is it a regression?",
            code="too_many_classes",
            classes=len(levels),
        )


def _fit(
    task: TrainTask,
    events: _Events,
    frame: pd.DataFrame,
    train: LabelledRows,
    contract: ModelContract,
    read_table: Callable[[], Any],
) -> _Fit:
    spec = task.spec
    random.seed(spec.seed)
    np.random.seed(spec.seed)  # for user code that draws from the global generator
    started = time.monotonic()
    match spec.trainer:
        case BuiltinTrainer():
            fitted = fit_builtin(
                spec.trainer.builtin,
                frame,
                train.labels,
                inputs=contract.inputs,
                task=spec.task,
                params=spec.params,
                seed=spec.seed,
            )
            fit = _Fit(fitted.estimator, _texts(fitted.params), fitted.notes, time.monotonic() - started)
            _log_curve(fitted.estimator, frame, train.labels, spec, events)
            return fit
        case EntryTrainer():
            context = _context(spec, contract, frame, train, events.emit, read_table)
            function = load_entry(spec.trainer.entry)
            model = function(context)
            check_returned(model, spec.task)
            params = {**_texts(spec.params), **context.logged_params}
            return _Fit(model, params, (), time.monotonic() - started)


def _context(
    spec: PinnedTraining,
    contract: ModelContract,
    frame: pd.DataFrame,
    train: LabelledRows,
    emit: Emit,
    read_table: Callable[[], Any],
) -> TrainContext:
    return TrainContext(
        features=frame.copy(),
        target=pd.Series(train.labels, name=spec.target.column),
        task=spec.task,
        params=dict(spec.params),
        seed=spec.seed,
        contract=contract,
        _emit=lambda event: emit(_between(event)),
        _read_table=read_table,
    )


def _between(event: dict[str, Any]) -> dict[str, Any]:
    """The user's 0 to 1 is the middle part of the job's."""
    if event["event"] != "progress" or event["fraction"] is None:
        return event
    return {**event, "fraction": FIT_FROM + (FIT_UNTIL - FIT_FROM) * event["fraction"]}


def _with_classes(contract: ModelContract, model: Any, labels: Labels) -> ModelContract:
    if contract.task != "classification":
        return contract
    classes = plain_list(np.asarray(getattr(model, "classes_", np.unique(labels))))
    return contract.model_copy(update={"classes": classes})


def _load_again(folder: Path, contract: ModelContract, saved: Saved) -> PythonModel:
    try:
        return load_model(folder, contract, saved.flavor, serialization=saved.serialization)
    except CarraraError as error:
        raise TrainingFault(
            f"the model was saved, but cannot be loaded again: {error.message}", code="cannot_load"
        ) from error


def _check_same_answers(model: Any, loaded: PythonModel, frame: pd.DataFrame, contract: ModelContract) -> None:
    """The saved model must answer like the one in memory, given its rows the way that requests bring them."""
    try:
        answers = loaded.predict(wire_columns(frame, contract))
    except CarraraError as error:
        raise TrainingFault(
            f"the model cannot answer its own training rows: {error.message}. It is given the spec's features as they"
            " are; put what you derive from them into the estimator (a Pipeline)",
            code="cannot_predict",
        ) from error
    if isinstance(model, mlflow.pyfunc.PythonModel):
        return
    before: Any = model.predict_proba(frame) if "probabilities" in answers else model.predict(frame)
    after = answers["probabilities"] if "probabilities" in answers else answers["prediction"]
    if contract.task == "regression" or "probabilities" in answers:
        is_same = np.allclose(np.asarray(before, dtype=np.float64), after, rtol=0, atol=1e-9)
    else:
        is_same = plain_list(np.asarray(before)) == after
    if not is_same:
        raise TrainingFault(
            "the model answers otherwise once it was saved and loaded: it holds state that is not saved, or is random",
            code="changed_by_saving",
        )


def _log_curve(model: Any, frame: pd.DataFrame, labels: Labels, spec: PinnedTraining, events: _Events) -> None:
    """The training loss after each boosting step, on the first rows."""
    name, loss = ("train_log_loss", _log_loss) if spec.task == "classification" else ("train_rmse", _rmse)
    rows = slice(0, CURVE_ROWS)
    if len(np.unique(labels[rows])) == len(np.unique(labels)):
        for step, value in enumerate(loss_by_step(model, frame.iloc[rows], labels[rows], loss), 1):
            events.metric(name, value, step)


def _score_training_rows(
    model: Any, frame: pd.DataFrame, labels: Labels, spec: PinnedTraining, events: _Events
) -> None:
    """How it does on rows that it has seen: beside the holdout's figures this shows overfitting."""
    if not callable(getattr(model, "score", None)):
        return
    rows = np.linspace(0, len(frame) - 1, min(SCORED_ROWS, len(frame)), dtype=np.int64)
    value = float(model.score(frame.iloc[rows], labels[rows]))
    if np.isfinite(value):
        events.metric("train_accuracy" if spec.task == "classification" else "train_r2", value)


def _log_loss(labels: Labels, table: Any) -> float:
    return float(sk.log_loss(labels, table, labels=np.unique(labels)))


def _rmse(labels: Labels, values: Any) -> float:
    return float(sk.root_mean_squared_error(labels, values))


def _texts(params: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in params.items()}


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value if isinstance(value, str | int | float | bool | list) else str(value) for key, value in facts.items()
    }
