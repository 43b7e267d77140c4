"""What a model may answer: the shapes and values of the contract, as plain Python. Anything else is its fault."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from carrara.contracts.contract import ModelContract
from carrara.inference.failures import BadModelOutput

_MAX_DEPTH = 16
_PROBABILITY_SLACK = 1e-6


def checked_outputs(outputs: Mapping[str, Any], rows: int, contract: ModelContract) -> dict[str, list[Any]]:
    """`outputs` if they are what the contract promises for this many rows; otherwise `BadModelOutput` says where.

    classification: `prediction` (one of `contract.classes`, where those are known) and, if the model has them,
    `probabilities` ([rows, classes] in the order of `contract.classes`); regression: `prediction`, finite numbers;
    generic: `prediction`, any JSON value without NaN and Infinity.
    """
    unknown = sorted(set(outputs) - {"prediction", "probabilities"})
    if "prediction" not in outputs or unknown:
        raise BadModelOutput(f"the model answered with {sorted(outputs)[:10]}; expected prediction and probabilities")
    prediction = _of_length(outputs["prediction"], rows, "prediction")
    match contract.task:
        case "classification":
            _check_labels(prediction, contract.classes)
        case "regression":
            for row, value in enumerate(prediction):
                _check_number(value, row, "prediction")
        case "generic":
            for row, value in enumerate(prediction):
                _check_json(value, row, _MAX_DEPTH)
    checked = {"prediction": prediction}
    if "probabilities" in outputs:
        checked["probabilities"] = _checked_probabilities(outputs["probabilities"], rows, contract)
    return checked


def _of_length(values: Any, rows: int, name: str) -> list[Any]:
    if not isinstance(values, list):
        raise BadModelOutput(f"{name} is a {type(values).__name__}; expected a list with one value for each row")
    if len(values) != rows:
        raise BadModelOutput(f"{name} has {len(values)} values for {rows} rows", got=len(values), expected=rows)
    return values


def _check_labels(labels: Sequence[Any], classes: Sequence[Any] | None) -> None:
    known = None if classes is None else set(classes)
    for row, label in enumerate(labels):
        if not isinstance(label, (str, int, float, bool)):
            raise BadModelOutput(f"row {row}: the label is a {type(label).__name__}; expected text, number or boolean")
        if known is not None and label not in known:
            raise BadModelOutput(f"row {row}: label {_shown(label)} is not one of the contract's classes", row=row)
        if isinstance(label, float):
            _check_number(label, row, "prediction")


def _checked_probabilities(table: Any, rows: int, contract: ModelContract) -> list[Any]:
    if contract.task != "classification" or contract.classes is None:
        raise BadModelOutput("the model answered with probabilities, and its contract names no classes for them")
    for row, values in enumerate(_of_length(table, rows, "probabilities")):
        for value in _of_length(values, len(contract.classes), f"row {row}: probabilities"):
            _check_number(value, row, "probabilities")
            if not -_PROBABILITY_SLACK <= value <= 1 + _PROBABILITY_SLACK:
                raise BadModelOutput(f"row {row}: a probability is {value}; expected 0 to 1", row=row)
    return list(table)


def _check_number(value: Any, row: int, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadModelOutput(f"row {row}: {name} is a {type(value).__name__}; expected a number", row=row)
    if not math.isfinite(value):
        raise BadModelOutput(f"row {row}: {name} is {value}; expected a finite number", row=row)


def _check_json(value: Any, row: int, depth: int) -> None:
    if depth == 0:
        raise BadModelOutput(f"row {row}: prediction is nested deeper than {_MAX_DEPTH}", row=row)
    if value is None or isinstance(value, (str, bool)):
        return
    if isinstance(value, (int, float)):
        _check_number(value, row, "prediction")
    elif isinstance(value, list):
        for item in value:
            _check_json(item, row, depth - 1)
    elif isinstance(value, dict) and all(isinstance(key, str) for key in value):
        for item in value.values():
            _check_json(item, row, depth - 1)
    else:
        raise BadModelOutput(f"row {row}: prediction holds a {type(value).__name__}, which is no JSON", row=row)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
