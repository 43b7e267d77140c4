"""The model contract: which columns a request has, and what an answer looks like. Part of every release."""

from enum import StrEnum
from typing import Literal

from carrara.contracts.wire import Wire


class ColumnType(StrEnum):
    """Types of a feature. Timestamps travel as ISO 8601 text, dates as YYYY-MM-DD."""

    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TEXT = "text"
    TIMESTAMP = "timestamp"
    DATE = "date"


class InputColumn(Wire):
    """One feature. `nullable`: null or absent is allowed. Categories and range are what training saw: not enforced."""

    name: str
    type: ColumnType
    nullable: bool = False
    categories: list[str] | None = None
    minimum: float | None = None
    maximum: float | None = None


class ModelContract(Wire):
    """`task` decides the outputs: a classifier gives `prediction` and `probabilities` by class, a regressor
    `prediction`; `generic` (a model of unknown kind) gives `prediction` with whatever the model returns for a row."""

    schema_version: Literal[1] = 1
    task: Literal["classification", "regression", "generic"]
    inputs: list[InputColumn]
    classes: list[str | int | float | bool] | None = None
    extra_columns: Literal["refuse", "ignore"] = "refuse"
    example: dict[str, str | int | float | bool | None] | None = None
