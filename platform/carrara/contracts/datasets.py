"""Datasets on the wire: what a push is told, a snapshot's schema and profile, and how a holdout is chosen."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, TypeAdapter

from carrara.contracts.wire import Answer, Wire

MAX_IDENTITY_COLUMNS = 64
DEFAULT_NULLS = ("", "NA", "N/A", "NULL", "null")


class StoredType(StrEnum):
    """Types of a stored column: those of a feature, but a timestamp in UTC is told from one without a zone."""

    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TEXT = "text"
    TIMESTAMP = "timestamp"
    TIMESTAMP_UTC = "timestamp_utc"
    DATE = "date"


class IngestOptions(Wire):
    """How to read an upload. Parquet has its own types, so only `time_column` applies to it.

    CSV: without `types` a column gets the narrowest type that holds every value of the whole file unchanged; a declared
    type is a promise, and the first value that breaks it is refused with its line. `null_values` are nulls when they
    stand unquoted, and in columns that are not text also quoted.
    """

    delimiter: str = Field(",", min_length=1, max_length=1, examples=[",", ";", "\t"])
    null_values: list[Annotated[str, Field(max_length=64)]] = Field(list(DEFAULT_NULLS), max_length=64)
    types: dict[str, StoredType] = Field({}, examples=[{"tailnum": "text", "time_hour": "timestamp_utc"}])
    time_column: str | None = Field(None, description="if absent, the only column with times or dates, if there is one")


class ColumnSchema(Answer):
    """One column as it was seen. `nullable`: there is a null. Range for numbers, times (ISO 8601) and dates;
    `categories` for texts with at most 200 different ones. `digest` covers every value, in order."""

    name: str
    type: StoredType
    nullable: bool
    minimum: int | float | str | None = None
    maximum: int | float | str | None = None
    categories: list[str] | None = None
    digest: str


class Histogram(Answer):
    """`counts[i]` values lie in [edges[i], edges[i + 1]), in the last bin including its upper edge."""

    edges: list[float | str]
    counts: list[int]


class Category(Answer):
    """A value and the number of rows with it."""

    value: str
    count: int


class ColumnProfile(Answer):
    """What a column holds. Where `*_is_exact` is false the figure is an estimate, within the error that is named.

    `distinct` does not count null. NaN and the infinities are counted, and left out of every other figure.
    """

    name: str
    type: StoredType
    count: int
    nulls: int
    distinct: int
    distinct_is_exact: bool = True
    distinct_error: float | None = Field(None, description="relative standard error of an estimate")
    nan: int = 0
    infinite: int = 0
    minimum: int | float | str | None = None
    maximum: int | float | str | None = None
    mean: float | None = None
    std: float | None = Field(None, description="of the sample (n - 1)")
    quantiles: dict[str, float] | None = Field(None, examples=[{"0.05": -17.0, "0.5": -5.0, "0.95": 91.0}])
    quantiles_are_exact: bool = True
    histogram: Histogram | None = None
    top: list[Category] | None = Field(None, description="at most 50, most frequent first")
    other_rows: int | None = Field(None, description="rows with a value that is not in `top`")
    top_is_exact: bool = True
    top_error: int | None = Field(None, description="a count may be too low by at most this many")


class TableProfile(Answer):
    """The profile of a snapshot, column by column."""

    rows: int
    columns: list[ColumnProfile]


class DatasetView(Answer):
    """A dataset: a name for a line of snapshots."""

    id: UUID
    name: str
    description: str
    latest_snapshot: int | None
    created_by: str
    created_at: datetime


class SnapshotView(Answer):
    """An immutable table. `digest` covers every row and column, however it was uploaded.

    `time_from`, `time_until`: first and last moment in `time_column`; one without a zone is shown as if it were UTC.
    """

    id: UUID
    dataset: str
    number: int
    digest: str
    row_count: int
    byte_count: int
    columns: list[ColumnSchema]
    time_column: str | None
    time_from: datetime | None
    time_until: datetime | None
    created_by: str
    created_at: datetime


class PushedSnapshot(Answer):
    """What a push gave. `is_new` is false when the dataset had this very table already: nothing was added."""

    snapshot: SnapshotView
    is_new: bool


class TimeSplit(Wire):
    """Train on what came before, hold out what came after.

    Train: train_from <= t < holdout_from. Holdout: holdout_from <= t < holdout_until. Moments are ISO 8601, with a zone
    for a column in UTC, without for one that has none; a date alone is its midnight. Rows outside, or without a time,
    are in neither part.
    """

    kind: Literal["time"] = "time"
    column: str
    holdout_from: str = Field(examples=["2013-03-01"])
    holdout_until: str | None = Field(None, examples=["2013-04-01"])
    train_from: str | None = Field(None, examples=["2013-01-01"])
    identity: list[str] | None = Field(None, min_length=1, max_length=MAX_IDENTITY_COLUMNS)


class KeySplit(Wire):
    """Hold out a share of the keys, such as customers: all rows of a key are on one side, today and in later snapshots.

    Which side depends on the key and the seed alone. Rows without a key are in neither part.
    """

    kind: Literal["key"] = "key"
    column: str
    holdout_percent: float = Field(gt=0, lt=100, examples=[20])
    seed: int = Field(0, ge=0, lt=2**32)
    identity: list[str] | None = Field(None, min_length=1, max_length=MAX_IDENTITY_COLUMNS)


SplitSpec = Annotated[TimeSplit | KeySplit, Field(discriminator="kind")]
SPLIT_SPEC: TypeAdapter[TimeSplit | KeySplit] = TypeAdapter(SplitSpec)


class SharedPair(Answer):
    """A row of the holdout and the first row of the training part that equals it; positions in the snapshot, from 0."""

    holdout_row: int
    train_row: int


class SharedRows(Answer):
    """Rows of the holdout that the training part has too: equal in every column of `compared` (null equals null,
    NaN equals NaN). `first` names at most 20 of them."""

    count: int
    compared: list[str]
    first: list[SharedPair]


class CreateSplit(Wire):
    """A request for a split of a snapshot. The same spec twice is the same split."""

    spec: SplitSpec


class SplitView(Answer):
    """A split. `excluded_rows` are in neither part. `holdout_looks` counts the evaluations that saw the holdout."""

    id: UUID
    dataset: str
    snapshot: int
    digest: str
    spec: SplitSpec
    train_rows: int
    holdout_rows: int
    excluded_rows: int
    shared_rows: SharedRows
    holdout_looks: int
    created_by: str
    created_at: datetime
