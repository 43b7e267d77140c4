"""Evaluations on the wire: what to evaluate, and the report, which is evidence and never changes."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from carrara.contracts.training import TargetField
from carrara.contracts.wire import Answer, Wire
from carrara.kernel.names import SlugField


class EvaluateSpec(Wire):
    """Spec of an evaluate job. Without `split_id` and `target` the version's own are taken: one that was trained
    elsewhere has none. With `endpoint` the release that is live there is scored on the same rows."""

    schema_version: Literal[1] = 1
    model: SlugField
    version: int = Field(ge=1)
    split_id: UUID | None = None
    target: TargetField | None = None
    endpoint: SlugField | None = None
    slices: list[str] = Field([], max_length=10, description="columns to report metrics for, level by level")
    resamples: int = Field(200, ge=0, le=2000, description="of the bootstrap; 0 for no intervals")
    seed: int = Field(0, ge=0, lt=2**32)
    policy: dict[str, Any] | None = Field(None, description="gates to judge in the job's result")


class PinnedEvaluation(EvaluateSpec):
    """An evaluate spec as it is queued: nothing in it can move any more."""

    version_id: UUID
    split_id: UUID
    target: TargetField
    baseline_release_id: UUID | None


class RequestEvaluation(Wire):
    """An evaluation of the version in the path."""

    split_id: UUID | None = None
    target: TargetField | None = None
    endpoint: SlugField | None = None
    slices: list[str] = Field([], max_length=10)
    resamples: int = Field(200, ge=0, le=2000)


class Interval(Answer):
    """`value` on all rows; `lower` and `upper` bound the 95 % percentile bootstrap interval, None without one."""

    value: float | None
    lower: float | None = None
    upper: float | None = None


class SliceMetrics(Answer):
    """Metrics of the rows where `column` has this level (None: null)."""

    column: str
    level: str | None
    rows: int
    metrics: dict[str, float | None]


class Baseline(Answer):
    """The live release on the same rows. `differences` are candidate minus baseline, resampled in pairs."""

    endpoint: str
    release_id: UUID
    release_digest: str
    model: str
    version: int
    metrics: dict[str, Interval]
    differences: dict[str, Interval]
    shared_rows: int | None = Field(description="rows of this holdout among those that the baseline was trained on")
    same_answers: int = Field(description="rows where both give the same prediction")


class EvaluatedData(Answer):
    """The rows that were scored."""

    dataset: str
    snapshot_id: UUID
    snapshot_number: int
    snapshot_digest: str
    split_id: UUID
    split_digest: str
    rows: int
    target: str = Field(description="the label, as a person would say it")
    dropped_null_targets: int
    look: int = Field(description="which look at this holdout this was, counting from 1")
    shared_rows: int | None = Field(
        description="rows of the holdout among those that this version was trained on; None if these are not known"
    )


class Latency(Answer):
    """Of one row at a time in the confined child, in milliseconds."""

    p50_milliseconds: float
    p99_milliseconds: float
    calls: int


class EvaluationReport(Answer):
    """What an evaluation found. Its digest is over its canonical JSON."""

    schema_version: Literal[1] = 1
    model: str
    version: int
    artifact_digest: str
    artifact_bytes: int
    task: Literal["classification", "regression"]
    classes: list[str | int | float | bool] | None
    positive_class: str | int | float | bool | None
    data: EvaluatedData
    metrics: dict[str, Interval]
    resamples: int
    seed: int
    latency: Latency
    rows_per_second: float
    slices: list[SliceMetrics] = []
    baseline: Baseline | None = None
    notes: list[str] = []


class EvaluationView(Answer):
    id: UUID
    digest: str
    job_id: UUID
    created_at: datetime
    report: EvaluationReport


class EvaluationResult(Answer):
    """`result` of an evaluate job that succeeded."""

    evaluation_id: UUID
    digest: str
    model: str
    version: int
    metrics: dict[str, Interval]
    differences: dict[str, Interval] = {}
    rows: int
    gates: dict[str, Any] | None = None
