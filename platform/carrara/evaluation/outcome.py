"""What goes into the child of an evaluation and what it says when it is done. Imports no library that loads models."""

from typing import Literal

from carrara.contracts.contract import ModelContract
from carrara.contracts.datasets import SplitSpec
from carrara.contracts.evaluation import Interval, Latency, SliceMetrics
from carrara.contracts.training import Target, Task
from carrara.contracts.wire import Wire

PREDICTIONS_FILE = "predictions.parquet"


class TrainedOn(Wire):
    """The training rows of a version: those of `split` in these files."""

    data_files: list[str]
    split: SplitSpec


class ModelToScore(Wire):
    """A model folder. `trained_on` None: the rows are not known; `shared_rows`: what is known already."""

    model_dir: str
    contract: ModelContract
    flavor: Literal["sklearn", "pyfunc"]
    serialization: Literal["skops", "pickle", "other"]
    trained_on: TrainedOn | None = None
    shared_rows: int | None = None


class EvaluateTask(Wire):
    """Argument of the child."""

    candidate: ModelToScore
    baseline: ModelToScore | None
    data_files: list[str]
    split: SplitSpec
    target: Target
    task: Task
    slices: list[str]
    resamples: int
    seed: int
    outputs: str


class BaselineOutcome(Wire):
    """What is said of the live release."""

    metrics: dict[str, Interval]
    differences: dict[str, Interval]
    shared_rows: int | None
    same_answers: int


class EvaluateOutcome(Wire):
    """What the child says of its result; the scored rows are in `outputs`."""

    rows: int
    dropped_null_targets: int
    positive_class: str | int | float | bool | None
    metrics: dict[str, Interval]
    latency: Latency
    rows_per_second: float
    shared_rows: int | None
    slices: list[SliceMetrics]
    baseline: BaselineOutcome | None
    notes: list[str]
