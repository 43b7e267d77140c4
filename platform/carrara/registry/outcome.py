"""What a validation's child is told and what it answers, without the libraries that it loads models with."""

from typing import Literal

from carrara.contracts.contract import ModelContract
from carrara.contracts.wire import Wire

GOLDEN_FILE = "golden.json"
SAVED_ANSWER_FILE = "output_example.json"  # beside MLflow's input_example.json: {"predictions": [...]}


class ValidateTask(Wire):
    """Argument of the child. `candidates` is a Parquet file of rows to ask; without it the folder's own example is."""

    model_dir: str
    contract: ModelContract
    flavor: Literal["sklearn", "pyfunc"]
    serialization: Literal["skops", "pickle", "other"]
    outputs: str
    candidates: str | None = None


class ValidateOutcome(Wire):
    """What the child found out; the golden rows themselves are in `outputs`. `classes` if the model is a classifier."""

    task: Literal["classification", "regression", "generic"]
    classes: list[str | int | float | bool] | None
    rows: int
    load_seconds: float
    single_row_milliseconds: float
    notes: list[str]
