"""An evaluation, inside its confined child: the model loaded as serving loads it, scored on the holdout."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from carrara.contracts.contract import ModelContract
from carrara.contracts.evaluation import Latency
from carrara.datasets.labelled import LabelledRows, SnapshotFiles, to_pandas
from carrara.datasets.shared_rows import shared_between
from carrara.datasets.splits import read_part
from carrara.evaluation.outcome import PREDICTIONS_FILE, BaselineOutcome, EvaluateOutcome, EvaluateTask, ModelToScore
from carrara.evaluation.scores import Answers, Scores, positive_class, score
from carrara.evaluation.slices import slice_metrics
from carrara.inference.frames import conform
from carrara.inference.plain_values import plain_list
from carrara.inference.python_model import PythonModel, load_model
from carrara.inference.wire_values import wire_columns
from carrara.kernel.errors import CarraraError, Invalid
from carrara.sandbox.child import ChildChannel

BATCH_ROWS = 10_000
LATENCY_CALLS = 100
LATENCY_SECONDS = 3.0
WARM_UP_CALLS = 5


@dataclass(frozen=True)
class _Scored:
    """A model's answers on the holdout, and how long they took."""

    model: PythonModel
    answers: Answers
    seconds: float


def run(channel: ChildChannel) -> None:
    """The entry of an evaluate job. What is wrong with the model or the rows becomes a `user_error`."""
    try:
        outcome = _evaluate(EvaluateTask.model_validate(channel.argument), channel)
    except CarraraError as fault:
        facts = {key: str(value) for key, value in fault.facts.items()}
        channel.emit({"event": "user_error", "reason": fault.code, "message": fault.message, "facts": facts})
        return
    channel.emit({"event": "result", "value": outcome.model_dump(mode="json")})


def _evaluate(task: EvaluateTask, channel: ChildChannel) -> EvaluateOutcome:
    _progress(channel, 0.0, "reading the holdout")
    holdout = _holdout(task)
    labels = plain_list(holdout.labels)
    notes: list[str] = []
    scored = _score_rows(task.candidate, holdout.table, lambda part: _progress(channel, 0.6 * part, "scoring"))
    _write_predictions(holdout, labels, scored.answers, Path(task.outputs) / PREDICTIONS_FILE)
    _note_unseen(task.candidate.contract, labels, notes)
    _progress(channel, 0.6, f"resampling {len(labels)} rows {task.resamples} times")
    scores = score(labels, scored.answers, resamples=task.resamples, seed=task.seed)
    latency = _latency(scored.model, holdout.table, task.candidate.contract, task.seed)
    baseline = None
    if task.baseline is not None:
        _progress(channel, 0.75, "scoring the live release on the same rows")
        baseline = _baseline(task, holdout, labels, (scored.answers, scores), notes)
    _progress(channel, 0.95, "looking for rows that were trained on")
    return EvaluateOutcome(
        rows=len(labels),
        dropped_null_targets=holdout.dropped,
        positive_class=positive_class(task.candidate.contract, labels),
        metrics=scores.intervals(),
        latency=latency,
        rows_per_second=len(labels) / max(scored.seconds, 1e-9),
        shared_rows=_shared_rows(task.candidate, task),
        slices=[
            part
            for name in task.slices
            for part in slice_metrics(name, holdout.table.column(name), labels, scored.answers)
        ],
        baseline=baseline,
        notes=notes,
    )


def _holdout(task: EvaluateTask) -> LabelledRows:
    files = SnapshotFiles([Path(file) for file in task.data_files])
    models = [task.candidate, *([task.baseline] if task.baseline else [])]
    there = set(files.names())
    wanted = [column.name for model in models for column in model.contract.inputs if column.name in there]
    _, holdout = files.labelled_parts([*wanted, *task.slices], split=task.split, target=task.target, task=task.task)
    if len(holdout.labels) == 0:
        raise Invalid(
            f"the holdout has no rows with a known {task.target.column!r} ({holdout.dropped} have null); choose"
            " another split",
            code="empty_holdout",
        )
    return holdout


def _score_rows(wanted: ModelToScore, table: pa.Table, on_progress: Any) -> _Scored:
    model = load_model(Path(wanted.model_dir), wanted.contract, wanted.flavor, serialization=wanted.serialization)
    names = [column.name for column in wanted.contract.inputs if column.name in table.column_names]
    frame = conform(to_pandas(table.select(names)), wanted.contract)
    prediction: list[Any] = []
    probabilities: list[list[float]] | None = None
    seconds = 0.0
    for start in range(0, len(frame), BATCH_ROWS):
        columns = wire_columns(frame.iloc[start : start + BATCH_ROWS], wanted.contract)
        began = time.perf_counter()
        outputs = model.predict(columns)
        seconds += time.perf_counter() - began
        prediction += outputs["prediction"]
        if "probabilities" in outputs:
            probabilities = [*(probabilities or []), *outputs["probabilities"]]
        on_progress(min((start + BATCH_ROWS) / len(frame), 1.0))
    return _Scored(model, Answers(wanted.contract, prediction, probabilities), seconds)


def _baseline(
    task: EvaluateTask,
    holdout: LabelledRows,
    labels: Sequence[Any],
    candidate: tuple[Answers, Scores],
    notes: list[str],
) -> BaselineOutcome | None:
    if task.baseline is None:
        return None
    answers, scores = candidate
    try:
        live = _score_rows(task.baseline, holdout.table, lambda _: None)
    except CarraraError as error:
        notes.append(f"the live release cannot be scored on these rows: {error.message}")
        return None
    live_scores = score(labels, live.answers, resamples=task.resamples, seed=task.seed)
    same = sum(a == b for a, b in zip(answers.prediction, live.answers.prediction, strict=True))
    return BaselineOutcome(
        metrics=live_scores.intervals(),
        differences=scores.minus(live_scores),
        shared_rows=_shared_rows(task.baseline, task),
        same_answers=same,
    )


def _shared_rows(model: ModelToScore, task: EvaluateTask) -> int | None:
    if model.shared_rows is not None or model.trained_on is None:
        return model.shared_rows
    trained = read_part([Path(file) for file in model.trained_on.data_files], model.trained_on.split, "train")
    held_out = read_part([Path(file) for file in task.data_files], task.split, "holdout")
    return shared_between(trained, held_out, task.split.identity).count


def _latency(model: PythonModel, table: pa.Table, contract: ModelContract, seed: int) -> Latency:
    """One row at a time, drawn from the holdout; a slow model is asked less often."""
    rows = np.random.default_rng(seed).integers(0, len(table), LATENCY_CALLS + WARM_UP_CALLS)
    names = [column.name for column in contract.inputs if column.name in table.column_names]
    columns = wire_columns(conform(to_pandas(table.select(names).take(pa.array(rows))), contract), contract)
    taken: list[float] = []
    began = time.perf_counter()
    for call in range(len(rows)):
        if len(taken) >= WARM_UP_CALLS and time.perf_counter() - began > LATENCY_SECONDS:
            break
        row = {name: values[call : call + 1] for name, values in columns.items()}
        start = time.perf_counter()
        model.predict(row)
        taken.append((time.perf_counter() - start) * 1000)
    p50, p99 = np.quantile(taken[WARM_UP_CALLS:] or taken, [0.5, 0.99])
    return Latency(p50_milliseconds=float(p50), p99_milliseconds=float(p99), calls=len(taken))


def _write_predictions(holdout: LabelledRows, labels: Sequence[Any], answers: Answers, path: Path) -> None:
    columns: Mapping[str, Any] = {"row": holdout.positions, "label": labels, "prediction": answers.prediction}
    if answers.probabilities is not None:
        names = [f"probability_{_text(label)}" for label in answers.contract.classes or []]
        table = np.asarray(answers.probabilities, dtype=np.float64)
        columns = {**columns, **{name: table[:, k] for k, name in enumerate(names)}}
    pq.write_table(pa.table(dict(columns)), path)


def _note_unseen(contract: ModelContract, labels: Sequence[Any], notes: list[str]) -> None:
    if contract.task != "classification" or contract.classes is None:
        return
    unseen = sorted({str(label) for label in labels if label not in contract.classes})
    if unseen:
        notes.append(f"the holdout has classes that the model does not know: {', '.join(unseen[:10])}")


def _text(label: Any) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)


def _progress(channel: ChildChannel, fraction: float, message: str) -> None:
    channel.emit({"event": "progress", "fraction": fraction, "message": message})
