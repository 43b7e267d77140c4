"""What becomes of each feature in a built-in trainer, decided from the training rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from carrara.contracts.contract import ColumnType, InputColumn
from carrara.training.builtin_params import ColumnParams
from carrara.training.failures import TrainingFault

NEARLY_UNIQUE = 0.5


@dataclass(frozen=True)
class ColumnPlan:
    """Names of features by treatment; `notes` says what was decided that a person might not expect."""

    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    hashed: tuple[str, ...]
    timestamps: tuple[str, ...]
    dates: tuple[str, ...]
    notes: tuple[str, ...]


def plan_columns(frame: pd.DataFrame, inputs: list[InputColumn], params: ColumnParams) -> ColumnPlan:
    """A plan for the training rows in `frame`; `TrainingFault` if nothing is left to learn from."""
    kinds: dict[str, list[str]] = {"numbers": [], "categories": [], "hashed": [], "timestamps": [], "dates": []}
    notes: list[str] = []
    for column in inputs:
        kind, note = _treatment(frame[column.name], column, params)
        if note:
            notes.append(f"{column.name}: {note}")
        if kind:
            kinds[kind].append(column.name)
    if not any(kinds.values()):
        raise TrainingFault(
            "no feature is left to learn from: " + "; ".join(notes), code="no_usable_features", notes=notes
        )
    return ColumnPlan(**{kind: tuple(names) for kind, names in kinds.items()}, notes=tuple(notes))


def _treatment(values: "pd.Series[Any]", column: InputColumn, params: ColumnParams) -> tuple[str | None, str]:
    known = values[values.notna()]
    if known.empty:
        return None, "left out: null in every training row"
    match column.type:
        case ColumnType.INTEGER | ColumnType.NUMBER:
            if not np.isfinite(known.to_numpy(dtype=np.float64)).all():
                raise TrainingFault(
                    f"feature {column.name!r} holds Infinity; replace it in the dataset or exclude the column",
                    code="infinite_feature",
                    column=column.name,
                )
            return "numbers", ""
        case ColumnType.BOOLEAN:
            return ("categories" if column.nullable else "numbers"), ""
        case ColumnType.TIMESTAMP:
            return "timestamps", ""
        case ColumnType.DATE:
            return "dates", ""
        case ColumnType.TEXT:
            return _text_treatment(known, params)


def _text_treatment(known: "pd.Series[Any]", params: ColumnParams) -> tuple[str | None, str]:
    levels = int(known.nunique())
    if levels <= params.max_categories:
        return "categories", ""
    if params.high_cardinality == "hash":
        return "hashed", f"{levels} levels, hashed into {params.hash_features} columns"
    if levels > NEARLY_UNIQUE * len(known):
        return None, f"left out: {levels} different values in {len(known)} rows; high_cardinality: hash would keep it"
    if params.high_cardinality == "drop":
        return None, f"left out: {levels} levels, over max_categories {params.max_categories}"
    return "categories", f"{levels} levels: the {params.max_categories - 1} most common kept, the others are one level"
