"""The contract of a model that is being trained: its columns from the snapshot's schema, and what training saw."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from carrara.contracts.contract import ColumnType, InputColumn, ModelContract
from carrara.contracts.datasets import ColumnSchema
from carrara.contracts.training import Task
from carrara.datasets.labelled import COLUMN_TYPES
from carrara.inference.wire_values import wire_row

MAX_CATEGORIES = 200


def contract_for(schema: Sequence[ColumnSchema], features: Sequence[str], task: Task) -> ModelContract:
    """Names, types and nullability. A column is nullable if it holds a null anywhere in the snapshot, holdout too."""
    by_name = {column.name: column for column in schema}
    inputs = [
        InputColumn(name=name, type=COLUMN_TYPES[by_name[name].type], nullable=by_name[name].nullable)
        for name in features
    ]
    return ModelContract(task=task, inputs=inputs)


def with_what_was_seen(contract: ModelContract, frame: pd.DataFrame) -> ModelContract:
    """The contract with the levels and ranges of the training rows, and one of these rows as its example."""
    inputs = [_seen(column, frame[column.name]) for column in contract.inputs]
    complete = frame.notna().all(axis=1).to_numpy()
    example = wire_row(frame, contract, int(complete.argmax()))
    return contract.model_copy(update={"inputs": inputs, "example": example})


def _seen(column: InputColumn, values: "pd.Series[float]") -> InputColumn:
    known = values[values.notna()]
    if column.type is ColumnType.TEXT:
        levels = sorted(known.unique().tolist())
        return column.model_copy(update={"categories": levels if 0 < len(levels) <= MAX_CATEGORIES else None})
    if column.type in (ColumnType.INTEGER, ColumnType.NUMBER) and len(known):
        numbers = known.to_numpy(dtype=np.float64)
        return column.model_copy(update={"minimum": float(numbers.min()), "maximum": float(numbers.max())})
    return column
