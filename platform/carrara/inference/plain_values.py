"""From what libraries return (arrays, series, frames, their scalars) to plain Python values, one for each row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from carrara.inference.failures import BadModelOutput

_MAX_DEPTH = 16


def plain_rows(answer: Any) -> list[Any]:
    """One plain value for each row: of a frame or a dict of columns a dict, of a matrix [rows, k > 1] a list."""
    if isinstance(answer, pd.DataFrame):
        names = [str(name) for name in answer.columns]
        columns = [plain_list(answer.iloc[:, position]) for position in range(len(names))]
        if len(names) == 1:
            return columns[0]
        return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    if isinstance(answer, dict):
        columns = [plain_list(values) for values in answer.values()]
        if len({len(values) for values in columns}) > 1:
            raise BadModelOutput("the model answered with columns of different lengths")
        return [dict(zip(map(str, answer), values, strict=True)) for values in zip(*columns, strict=True)]
    if isinstance(answer, np.ndarray) and answer.ndim == 2 and answer.shape[1] == 1:
        return plain_list(answer[:, 0])
    return plain_list(answer)


def plain_list(values: Any) -> list[Any]:
    """The items as plain Python; `BadModelOutput` if `values` is no sequence."""
    if isinstance(values, (pd.Series, pd.Index)):
        values = values.to_numpy()
    if isinstance(values, np.ndarray):
        if values.ndim == 0:
            raise BadModelOutput("the model answered with one value; expected one for each row")
        return [plain(value) for value in values.tolist()]
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise BadModelOutput(f"the model answered with a {type(values).__name__}; expected one value for each row")
    return [plain(value) for value in values]


def plain(value: Any, depth: int = _MAX_DEPTH) -> Any:
    """A scalar as JSON knows it; what is no scalar, list or dict is given back as it is, for the check to refuse."""
    if isinstance(value, float | int | str | None):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist(), depth - 1) if depth else value
    if value is pd.NaT or value is pd.NA:
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if depth and isinstance(value, list | tuple):
        return [plain(item, depth - 1) for item in value]
    if depth and isinstance(value, dict):
        return {str(key): plain(item, depth - 1) for key, item in value.items()}
    return value
