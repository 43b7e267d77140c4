"""From an MLflow signature to a model contract. Pure: what MLmodel says goes in, a contract or a reason comes out."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from carrara.contracts.contract import ColumnType, InputColumn, ModelContract
from carrara.kernel.errors import Invalid, Issue

MAX_COLUMNS = 5000

_TYPES: Mapping[str, ColumnType] = {
    "boolean": ColumnType.BOOLEAN,
    "integer": ColumnType.INTEGER,
    "long": ColumnType.INTEGER,
    "float": ColumnType.NUMBER,
    "double": ColumnType.NUMBER,
    "string": ColumnType.TEXT,
    "datetime": ColumnType.TIMESTAMP,
}
_HOW = "log the model with signature=infer_signature(X, y) of a frame with named columns"


def contract_of(signature: Mapping[str, Any] | None) -> ModelContract:
    """The contract of a model with this `signature` section; its task is `generic`, which a signature cannot tell.

    `Invalid(no_signature)` when there is none, or when it holds what a row of named values cannot: tensors, unnamed
    columns, binary, arrays, objects. Each such column is an issue.
    """
    columns = _columns(signature)
    issues: list[Issue] = []
    inputs: list[InputColumn] = []
    for position, column in enumerate(columns):
        found = _column(position, column)
        if isinstance(found, Issue):
            issues.append(found)
        else:
            inputs.append(found)
    names = [column.name for column in inputs]
    issues += [Issue(f"column {name}", "is there twice") for name in sorted({n for n in names if names.count(n) > 1})]
    if issues:
        shown = "; ".join(f"{issue.where} {issue.message}" for issue in issues[:5])
        raise _none(f"the signature has inputs that Carrara cannot serve: {shown}", issues)
    return ModelContract(task="generic", inputs=inputs)


def _columns(signature: Mapping[str, Any] | None) -> list[Any]:
    written = (signature or {}).get("inputs")
    if written is None:
        raise _none(f"the model has no signature, so nobody can say what a request must hold; {_HOW}")
    try:
        columns = json.loads(written) if isinstance(written, str) else written
    except (ValueError, RecursionError) as error:
        raise _none(f"the inputs of the signature are not JSON: {error}") from error
    if not isinstance(columns, list) or not columns:
        raise _none(f"the signature names no inputs; {_HOW}")
    if len(columns) > MAX_COLUMNS:
        raise _none(f"the signature has {len(columns)} inputs, over the limit of {MAX_COLUMNS}")
    return columns


def _column(position: int, column: Any) -> InputColumn | Issue:
    if not isinstance(column, dict):
        return Issue(f"input {position}", "is not a column", "bad_column")
    kind, name = column.get("type"), column.get("name")
    if kind == "tensor":
        shown = f" {name!r}" if name else ""
        return Issue(f"input {position}{shown}", "is a tensor; expected named columns of scalars", "tensor")
    if not isinstance(name, str) or not name:
        return Issue(f"input {position}", "has no name; expected named columns", "unnamed_column")
    if not isinstance(kind, str) or kind not in _TYPES:
        return Issue(
            f"column {name[:80]}", f"is {str(kind)[:40]}; expected one of {', '.join(_TYPES)}", "unsupported_type"
        )
    try:
        return InputColumn(name=name, type=_TYPES[kind], nullable=column.get("required", True) is False)
    except ValidationError as error:
        return Issue(f"column {name[:80]}", f"is not a column: {error.errors()[0]['msg']}", "bad_column")


def _none(message: str, issues: list[Issue] | None = None) -> Invalid:
    return Invalid(message, code="no_signature", issues=issues or [])
