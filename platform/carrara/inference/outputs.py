"""What a model may answer: the shapes and values of the contract, as plain Python. Anything else is its fault."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from carrara.contracts.contract import ModelContract
from carrara.inference.failures import BadModelOutput

_MAX_DEPTH = 16
_PROBABILITY_SLACK = 1e-6
_NUMBERS = frozenset({int, float})
_LABELS = frozenset({str, int, float, bool})


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
            _check_numbers(prediction, "prediction")
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
    if not set(map(type, labels)) <= _LABELS:
        row, wrong = next((row, label) for row, label in enumerate(labels) if type(label) not in _LABELS)
        raise BadModelOutput(f"row {row}: the label is a {type(wrong).__name__}; expected text, number or boolean")
    _check_finite([label for label in labels if type(label) is float], "a label")
    if classes is not None and (unknown := set(labels) - set(classes)):
        label = next(iter(unknown))
        raise BadModelOutput(f"row {labels.index(label)}: label {_shown(label)} is not one of the contract's classes")


def _checked_probabilities(table: Any, rows: int, contract: ModelContract) -> list[Any]:
    if contract.task != "classification" or contract.classes is None:
        raise BadModelOutput("the model answered with probabilities, and its contract names no classes for them")
    width = len(contract.classes)
    for row, values in enumerate(_of_length(table, rows, "probabilities")):
        _check_numbers(_of_length(values, width, f"row {row}: probabilities"), f"row {row}: probabilities")
        if values and (min(values) < -_PROBABILITY_SLACK or max(values) > 1 + _PROBABILITY_SLACK):
            raise BadModelOutput(f"row {row}: the probabilities are {_shown(values)}; expected 0 to 1", row=row)
    return list(table)


def _check_numbers(values: Sequence[Any], name: str) -> None:
    if not set(map(type, values)) <= _NUMBERS:
        place, wrong = next((place, value) for place, value in enumerate(values) if type(value) not in _NUMBERS)
        raise BadModelOutput(f"{name}[{place}] is a {type(wrong).__name__}; expected a number")
    _check_finite(values, name)


def _check_finite(values: Iterable[float], name: str) -> None:
    for place, value in enumerate(values):
        if not math.isfinite(value):
            raise BadModelOutput(f"{name}[{place}] is {value}; expected a finite number")


def _check_json(value: Any, row: int, depth: int) -> None:
    if depth == 0:
        raise BadModelOutput(f"row {row}: prediction is nested deeper than {_MAX_DEPTH}", row=row)
    if value is None or isinstance(value, (str, int)):
        return
    if isinstance(value, float):
        _check_finite((value,), f"row {row}: prediction")
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
