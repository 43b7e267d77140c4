"""Gates on the wire: the policy that a person writes, and the report that judges a version by it."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, model_validator

from carrara.contracts.wire import Answer, Wire
from carrara.kernel.digests import DIGEST_PATTERN

JudgeBy = Literal["value", "interval"]


class MetricRule(Wire):
    """A metric on the holdout. `judge_by: interval` passes only if the whole 95 % interval does, and fails only if
    none of it does; between them it cannot tell."""

    rule: Literal["metric"]
    name: str
    at_least: float | None = None
    at_most: float | None = None
    judge_by: JudgeBy = "value"

    @model_validator(mode="after")
    def _bounded(self) -> "MetricRule":
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least, at_most or both")
        return self


class NoWorseThanLive(Wire):
    """Against the live release, on the same rows: worse by no more than `by_at_most`, in the metric's own unit."""

    rule: Literal["no_worse_than_live"]
    metric: str
    by_at_most: float = Field(0.0, ge=0)
    judge_by: JudgeBy = "value"


class ArtifactSize(Wire):
    rule: Literal["artifact_size"]
    at_most_bytes: int = Field(gt=0)


class LatencyP50(Wire):
    """Of one row, alone in the evaluation's child."""

    rule: Literal["latency_p50"]
    at_most_milliseconds: float = Field(gt=0)


class LatencyP99(Wire):
    """Of one row, alone in the evaluation's child."""

    rule: Literal["latency_p99"]
    at_most_milliseconds: float = Field(gt=0)


class EvaluatedOn(Wire):
    """What the evidence must rest on: not too old, on this snapshot, on a holdout not looked at too often."""

    rule: Literal["evaluated_on"]
    max_age_days: float | None = Field(None, gt=0)
    snapshot_digest: str | None = Field(None, pattern=DIGEST_PATTERN)
    min_rows: int | None = Field(None, ge=1)
    max_looks: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _asks_something(self) -> "EvaluatedOn":
        if (self.max_age_days, self.snapshot_digest, self.min_rows, self.max_looks) == (None,) * 4:
            raise ValueError("give max_age_days, snapshot_digest, min_rows or max_looks")
        return self


class SharedRows(Wire):
    """Rows of the holdout that the candidate or the live version was trained on."""

    rule: Literal["shared_rows"]
    at_most: int = Field(0, ge=0)


Rule = Annotated[
    MetricRule | NoWorseThanLive | ArtifactSize | LatencyP50 | LatencyP99 | EvaluatedOn | SharedRows,
    Field(discriminator="rule"),
]


class GatePolicy(Wire):
    """The rules that a version must meet. Its digest is its name: a change is another policy."""

    schema_version: Literal[1] = 1
    rules: list[Rule] = Field(min_length=1, max_length=100)


class PutPolicy(Wire):
    """A policy to keep; the same document twice is one policy."""

    document: dict[str, Any] = Field(examples=[{"rules": [{"rule": "metric", "name": "roc_auc", "at_least": 0.9}]}])


class PolicyView(Answer):
    id: UUID
    digest: str
    document: dict[str, Any]
    created_at: datetime


class Outcome(StrEnum):
    """Three answers: `could_not_tell` never lets anything through, and says what is missing."""

    PASSED = "passed"
    FAILED = "failed"
    COULD_NOT_TELL = "could_not_tell"


class Verdict(Answer):
    """One rule judged. `evidence` holds the figures; `how_to_pass` is empty when it passed."""

    rule: str
    asked: str
    outcome: Outcome
    finding: str
    evidence: dict[str, Any] = {}
    how_to_pass: str = ""


class GateReport(Answer):
    """A version judged for an endpoint, or by the task's default policy when the endpoint has none."""

    model: str
    version: int
    endpoint: str | None
    outcome: Outcome
    verdicts: list[Verdict]
    policy_digest: str
    policy_is_default: bool
    evaluation_id: UUID | None
    evaluation_digest: str | None
    live_release: str | None
    judged_at: datetime
