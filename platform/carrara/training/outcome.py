"""What goes into the child of a training and what it says when it is done. Imports no library that fits models."""

from typing import Literal

from carrara.contracts.contract import ModelContract
from carrara.contracts.datasets import ColumnSchema
from carrara.contracts.training import PinnedTraining
from carrara.contracts.wire import Wire

MODEL_FOLDER = "model"
GOLDEN_FILE = "golden_candidates.parquet"


class TrainTask(Wire):
    """Argument of the child. `train_file` has the training rows, `unlabelled_file` features of held-out rows, of which
    `holdout_dropped` more had no label (`training.parts`); `code` is the folder of the user's bundle."""

    spec: PinnedTraining
    columns: list[ColumnSchema]
    train_file: str
    unlabelled_file: str
    holdout_dropped: int
    outputs: str
    code: str | None = None


class TrainOutcome(Wire):
    """The child's result; the rest is in `outputs`."""

    flavor: Literal["sklearn", "pyfunc"]
    serialization: Literal["skops", "pickle", "other"]
    contract: ModelContract
    params: dict[str, str]
    metrics: dict[str, float]
    notes: list[str]
    packages: dict[str, str]
    train_rows: int
    dropped_null_targets: int
    fit_seconds: float
