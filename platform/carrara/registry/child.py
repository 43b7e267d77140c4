"""A validation, inside its clean confined child: load the model, ask it twice, keep the answers as the golden set."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from carrara.contracts.contract import ModelContract
from carrara.contracts.release import GoldenRows
from carrara.inference.python_model import PythonModel, load_model
from carrara.kernel.errors import CarraraError, Invalid
from carrara.registry.golden import (
    Columns,
    as_request,
    edge_rows,
    first_difference,
    invented_row,
    joined,
    row_count,
    take_rows,
    tolerance_for,
)
from carrara.registry.outcome import GOLDEN_FILE, SAVED_ANSWER_FILE, ValidateOutcome, ValidateTask
from carrara.sandbox.child import ChildChannel

MAX_EXAMPLE_BYTES = 64 << 20
_SINGLE_ROWS = 20


class ModelFault(CarraraError):  # noqa: N818  # kinds read as sentences, as in kernel.errors
    """The model is not what its author says it is; `code` is a reason for rejection."""


def run(channel: ChildChannel) -> None:
    """The entry of a validate job. A fault of the model becomes a `user_error` with the reason of the rejection."""
    try:
        outcome = _validate(ValidateTask.model_validate(channel.argument), channel)
    except (ModelFault, Invalid) as fault:
        _tell(channel, fault.code if isinstance(fault, ModelFault) else "load_failed", fault)
    except CarraraError as fault:
        _tell(channel, fault.code, fault)
    else:
        channel.emit({"event": "result", "value": outcome.model_dump(mode="json")})


def _validate(task: ValidateTask, channel: ChildChannel) -> ValidateOutcome:
    folder = Path(task.model_dir)
    channel.emit({"event": "progress", "fraction": 0.1, "message": "loading the model"})
    started = time.perf_counter()
    model = load_model(folder, task.contract, task.flavor, serialization=task.serialization)
    load_seconds = time.perf_counter() - started
    contract = _told_by_model(task, model)
    if contract != task.contract:
        model = load_model(folder, contract, task.flavor, serialization=task.serialization)
    channel.emit({"event": "progress", "fraction": 0.4, "message": "asking the model"})
    notes: list[str] = []
    columns = _rows(task, folder, model, contract, notes)
    outputs = model.predict(columns)
    tolerance = tolerance_for(outputs)
    _check_again(model, columns, outputs, tolerance)
    _check_saved_answer(folder, contract, model, tolerance)
    milliseconds = _check_single_rows(model, columns, outputs, tolerance)
    contract = _told_by_answers(task, contract, outputs)
    golden = GoldenRows(columns=columns, outputs=outputs)
    (Path(task.outputs) / GOLDEN_FILE).write_text(json.dumps(golden.model_dump(mode="json"), allow_nan=False))
    return ValidateOutcome(
        task=contract.task,
        classes=contract.classes,
        rows=row_count(columns),
        load_seconds=load_seconds,
        single_row_milliseconds=milliseconds,
        notes=notes,
    )


def _told_by_model(task: ValidateTask, model: PythonModel) -> ModelContract:
    """A signature does not say what a model is for; scikit-learn's classifiers do, by having classes."""
    classes = model.classes
    if task.contract.task != "generic" or task.flavor != "sklearn" or not classes:
        return task.contract
    if any(isinstance(label, list) for label in classes):
        return task.contract  # several outputs at once
    return task.contract.model_copy(update={"task": "classification", "classes": classes})


def _told_by_answers(task: ValidateTask, contract: ModelContract, outputs: Mapping[str, list[Any]]) -> ModelContract:
    """A scikit-learn model without classes whose every answer is a real number is a regressor."""
    is_real = all(isinstance(value, float) for value in outputs["prediction"])
    if contract.task == "generic" and task.flavor == "sklearn" and is_real:
        return contract.model_copy(update={"task": "regression"})
    return contract


def _rows(task: ValidateTask, folder: Path, model: PythonModel, contract: ModelContract, notes: list[str]) -> Columns:
    if task.candidates is not None:
        columns = as_request(pq.read_table(task.candidates).to_pydict(), contract)
        if row_count(columns) == 0:
            raise ModelFault("none of the golden rows can be asked: each lacks a value it needs", code="no_example")
        return columns
    example = _saved_example(folder, contract)
    if example is None:
        notes.append("the model brought no input example; its golden row was made up from its signature")
        columns = invented_row(contract)
        try:
            model.predict(columns)
        except CarraraError as error:
            raise ModelFault(
                f"the model brought no input example, and cannot answer a made-up row ({error.message});"
                " log it with input_example=X.head()",
                code="no_example",
            ) from error
    else:
        columns = example
    edges = edge_rows(columns, contract)
    answered = [row for row in range(row_count(edges)) if _answers(model, take_rows(edges, [row]), notes)]
    return joined(columns, take_rows(edges, answered))


def _answers(model: PythonModel, row: Columns, notes: list[str]) -> bool:
    try:
        model.predict(row)
    except CarraraError as error:
        notes.append(f"cannot answer an edge row: {error.message}"[:300])
        return False
    return True


def _saved_example(folder: Path, contract: ModelContract) -> Columns | None:
    """The rows of MLflow's `input_example.json` ({columns, data}, as pandas splits a frame)."""
    path = folder / "input_example.json"
    if not path.is_file():
        return None
    if path.stat().st_size > MAX_EXAMPLE_BYTES:
        raise ModelFault(f"the input example is larger than {MAX_EXAMPLE_BYTES} bytes", code="too_large")
    try:
        saved = json.loads(path.read_text())
        names, rows = [str(name) for name in saved["columns"]], saved["data"]
        columns = {name: [row[position] for row in rows] for position, name in enumerate(names)}
        return as_request(columns, contract) or None
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ModelFault(
            f"the input example does not fit the signature ({type(error).__name__}: {error}); log the model with an"
            " input_example that is a frame with the columns of the signature",
            code="wrong_answer",
        ) from error


def _check_again(model: PythonModel, columns: Columns, outputs: Columns, tolerance: float) -> None:
    difference = first_difference(outputs, model.predict(columns), tolerance)
    if difference is not None:
        raise ModelFault(
            f"asked twice with the same rows, the model gave two answers ({_where(difference)}); fix its seeds",
            code="wrong_answer",
            output=difference[0],
            row=difference[1],
        )


def _check_saved_answer(folder: Path, contract: ModelContract, model: PythonModel, tolerance: float) -> None:
    """The answers that whoever saved the model wrote beside its example, if they did."""
    path = folder / SAVED_ANSWER_FILE
    example = _saved_example(folder, contract) if path.is_file() else None
    if example is None:
        return
    try:
        saved = json.loads(path.read_text())["predictions"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFault(f"{SAVED_ANSWER_FILE} is not {{predictions: [...]}}", code="wrong_answer") from error
    difference = first_difference(
        {"prediction": saved}, {"prediction": model.predict(example)["prediction"]}, tolerance
    )
    if difference is not None:
        raise ModelFault(
            f"the saved example does not give its saved answer ({_where(difference)}); was the model made with other"
            " versions of its libraries?",
            code="wrong_answer",
            row=difference[1],
        )


def _check_single_rows(model: PythonModel, columns: Columns, outputs: Columns, tolerance: float) -> float:
    """A row alone must be answered as it is among others. Gives the median time of one row, in milliseconds."""
    times = []
    for row in range(min(row_count(columns), _SINGLE_ROWS)):
        started = time.perf_counter()
        alone = model.predict(take_rows(columns, [row]))
        times.append((time.perf_counter() - started) * 1000)
        if first_difference(alone, take_rows(outputs, [row]), tolerance) is not None:
            raise ModelFault(
                f"row {row} alone gets another answer than among others: the model mixes its rows",
                code="wrong_answer",
                row=row,
            )
    return sorted(times)[len(times) // 2]


def _where(difference: tuple[str, int]) -> str:
    name, row = difference
    return f"{name} of row {row}" if row >= 0 else f"{name} is not in both"


def _tell(channel: ChildChannel, reason: str, fault: CarraraError) -> None:
    channel.emit(
        {
            "event": "user_error",
            "reason": reason,
            "message": fault.message[:4000],
            "facts": {key: value for key, value in fault.facts.items() if isinstance(value, str | int | float | list)},
        }
    )
