"""Training on the wire: the spec that a person writes, and what a trained model is when it leaves its job."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from carrara.contracts.contract import ModelContract
from carrara.contracts.datasets import SplitSpec
from carrara.contracts.release import ArtifactFile
from carrara.contracts.wire import Answer, Wire
from carrara.kernel.digests import DIGEST_PATTERN
from carrara.kernel.names import SlugField

Task = Literal["classification", "regression"]
BuiltinName = Literal["logistic", "ridge", "random_forest", "hist_gradient_boosting"]
DigestField = Annotated[str, Field(pattern=DIGEST_PATTERN)]
REGISTER_TRAINED = "registry.register_trained"

_ONLY_FOR: Mapping[str, Task] = {"logistic": "classification", "ridge": "regression"}


class Target(Wire):
    """What to predict. With `greater_than` a number becomes a yes-or-no label: true above it.

    Rows whose target is null cannot be learned from: they are left out and counted.
    """

    column: str
    greater_than: float | None = None

    def __str__(self) -> str:
        return self.column if self.greater_than is None else f"{self.column} > {self.greater_than:g}"


class BuiltinTrainer(Wire):
    """One of Carrara's own trainers."""

    builtin: BuiltinName


class EntryTrainer(Wire):
    """The user's own `module:function` from an uploaded code bundle."""

    entry: str = Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$", examples=["train:train"])
    bundle: DigestField


def _target(value: Any) -> Any:
    return {"column": value} if isinstance(value, str) else value


TargetField = Annotated[Target, BeforeValidator(_target)]


def _trainer(value: Any) -> str:
    if isinstance(value, Mapping):
        return "entry" if "entry" in value or "bundle" in value else "builtin"
    return "entry" if isinstance(value, EntryTrainer) else "builtin"


def _snapshot(value: Any) -> Any:
    is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if value is None or is_number or (isinstance(value, str) and re.match(DIGEST_PATTERN, value)):
        return value
    raise ValueError("expected the number of a snapshot, from 1, or its digest (sha256: and 64 hex digits)")


class TrainingSpec(Wire):
    """What to train, on what. `docs/reference/training-spec.md` tells each key."""

    schema_version: Literal[1] = 1
    model: SlugField
    dataset: SlugField
    snapshot: Annotated[int | str | None, BeforeValidator(_snapshot)] = Field(
        None, description="number or digest; the newest at submission if absent"
    )
    split: SplitSpec
    target: TargetField
    task: Task
    features: list[str] | None = Field(None, min_length=1, description="all columns but the target, if absent")
    exclude: list[str] = []
    trainer: Annotated[
        Annotated[BuiltinTrainer, Tag("builtin")] | Annotated[EntryTrainer, Tag("entry")], Discriminator(_trainer)
    ]
    params: dict[str, Any] = {}
    seed: int = Field(0, ge=0, lt=2**32)
    timeout_seconds: int | None = Field(None, ge=1, le=7 * 86400)
    memory_bytes: int | None = Field(None, ge=64 << 20, le=1 << 40)
    evaluate: bool = True
    endpoint: SlugField | None = Field(None, description="evaluate against what is live there")
    policy: dict[str, Any] | None = Field(None, description="gates to judge after the evaluation")

    @model_validator(mode="after")
    def _agree(self) -> "TrainingSpec":
        if self.task == "regression" and self.target.greater_than is not None:
            raise ValueError("target.greater_than makes a yes-or-no label, so task must be classification")
        if isinstance(self.trainer, BuiltinTrainer):
            only = _ONLY_FOR.get(self.trainer.builtin, self.task)
            if only != self.task:
                raise ValueError(f"trainer {self.trainer.builtin!r} is for {only}, but task is {self.task}")
        if self.features is not None and self.exclude:
            raise ValueError("give features or exclude, not both")
        if not self.evaluate and (self.policy is not None or self.endpoint is not None):
            raise ValueError("policy and endpoint need an evaluation, but evaluate is false")
        return self


class PinnedData(Wire):
    """The very rows that a job works on, fixed when it was submitted."""

    snapshot_id: UUID
    snapshot_number: int
    snapshot_digest: DigestField
    split_id: UUID
    split_digest: DigestField


class PinnedTraining(TrainingSpec):
    """A training spec as it is queued: nothing in it can move any more."""

    features: list[str] | None = Field(min_length=1)
    pinned: PinnedData
    allows_pickle: bool
    git_commit: str | None = None
    git_is_dirty: bool | None = None


class TrainingLineage(Wire):
    """Where a trained model comes from: data, code and settings, each by its digest."""

    dataset: str
    data: PinnedData
    target: Target
    task: Task
    features: list[str]
    trainer: BuiltinTrainer | EntryTrainer
    params: dict[str, Any]
    seed: int
    git_commit: str | None = None
    git_is_dirty: bool | None = None
    train_rows: int
    dropped_null_targets: int
    packages: dict[str, str] = Field(description="versions of the libraries that fitted it")
    notes: list[str] = Field([], description="what the trainer decided by itself, such as a column it left out")


class StoredBlob(Wire):
    """A blob and its size in bytes."""

    digest: DigestField
    size: int


class TrainedModel(Wire):
    """Payload of the outbox message `registry.register_trained`, written by the fenced commit of a training job.

    `metric_history`: one JSON object a line, `{name, value, step, at}`. `golden_candidates`: a Parquet file of feature
    rows (holdout and edge rows) without answers; validation computes these.
    """

    schema_version: Literal[1] = 1
    job_id: UUID
    attempt: int
    model: SlugField
    author_id: UUID
    task: Task
    flavor: Literal["sklearn", "pyfunc"]
    serialization: Literal["skops", "pickle", "other"]
    artifact_digest: DigestField
    files: list[ArtifactFile]
    contract: ModelContract
    lineage: TrainingLineage
    params: dict[str, str]
    metrics: dict[str, float]
    metric_history: StoredBlob | None
    golden_candidates: StoredBlob
    evaluate: bool
    endpoint: SlugField | None = None
    policy: dict[str, Any] | None = None


class TrainingResult(Answer):
    """`result` of a training job that succeeded."""

    model: str
    artifact_digest: str
    artifact_bytes: int
    metrics: dict[str, float]
    params: dict[str, str]
    train_rows: int
    dropped_null_targets: int
    fit_seconds: float
    notes: list[str] = []
