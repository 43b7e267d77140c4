"""Endpoints, approvals, promotions, rollbacks and history on the wire."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field, model_validator

from carrara.contracts.gates import GateReport, Outcome
from carrara.contracts.routes import Fallback
from carrara.contracts.wire import Answer, Wire
from carrara.kernel.digests import DIGEST_PATTERN
from carrara.kernel.names import SlugField

Reason = Field(max_length=2000, description="why, for the history", examples=["AUC 0.93 on March, +0.01 over v1"])


class CreateEndpoint(Wire):
    """A stable address. `policy`: digest of a gate policy; without one the default of the model's task judges."""

    name: SlugField = Field(examples=["arrival-delay"])
    description: str = Field("", max_length=2000)
    policy: str | None = Field(None, pattern=DIGEST_PATTERN)
    fallback: Fallback | None = None


class SetPolicy(Wire):
    """The gate policy that the next promotions are judged by; null goes back to the task's default."""

    policy: str | None = Field(pattern=DIGEST_PATTERN)
    reason: str = Reason


class SetFallback(Wire):
    """What answers when no release is live; null takes the declaration back, if something else can be gone back to."""

    fallback: Fallback | None = Field(examples=[{"kind": "constant", "prediction": False}])
    reason: str = Reason


class ReleaseChoice(Wire):
    """Either a model and a version's number, or a release's digest."""

    model: str | None = Field(None, max_length=200, examples=["arrival-delay"])
    version: int | None = Field(None, ge=1, lt=2**31, examples=[2])
    release: str | None = Field(None, pattern=DIGEST_PATTERN)

    @model_validator(mode="after")
    def _one_way(self) -> "ReleaseChoice":
        by_number = self.model is not None and self.version is not None
        if by_number == (self.release is not None) or (self.model is None) != (self.version is None):
            raise ValueError("give model and version, or release")
        return self


class Promote(ReleaseChoice):
    """`expected_revision`: refuse if the endpoint has changed since the caller looked. `dry_run` only explains."""

    expected_revision: int | None = Field(None, ge=1)
    fallback: Fallback | None = Field(None, description="must be declared before the first promotion, or here")
    strategy: str = Field("all_at_once", examples=["all_at_once"])
    reason: str = Reason
    dry_run: bool = False


class DecideApproval(ReleaseChoice):
    """A person's decision about a release at this endpoint, on the newest evaluation and the policy in force.

    `evaluation`, `policy`: digests of those that the person saw, as the gate report gives them (null: none was shown);
    `Conflict(evidence_changed)` if others are in force by now. Left out, they are not compared.
    """

    decision: Literal["approved", "rejected"] = "approved"
    comment: str = Field("", max_length=2000)
    evaluation: str | None = Field(None, pattern=DIGEST_PATTERN)
    policy: str | None = Field(None, pattern=DIGEST_PATTERN)


class RevokeApproval(Wire):
    reason: str = Field(min_length=1, max_length=2000)


class RollBack(Wire):
    """`to`: a certain earlier release that every process holds, or `fallback`; else the rollback target. `leaving`:
    only if this one answers, or is on its way to. Without `to`, a rollout that has not switched yet is only ended."""

    reason: str = Field(min_length=1, max_length=2000, examples=["answers are all 'late' since 14:05"])
    to: str | None = Field(None, pattern=DIGEST_PATTERN + "|^fallback$")
    leaving: str | None = Field(None, pattern=DIGEST_PATTERN)


class AbortRollout(Wire):
    reason: str = Field(min_length=1, max_length=2000)


class ReleaseRef(Answer):
    digest: str
    model: str
    version: int


class StatusView(Answer):
    """Computed from what serving processes report; `age_seconds` is of the oldest report that counts."""

    state: Literal["serving", "converging", "stale", "unknown", "empty"]
    message: str
    confirmed: int
    known: int
    age_seconds: float | None
    missing: list[str]


class RollbackPreview(Answer):
    """What a rollback would do now. `target` null with `possible` true: the fallback would answer."""

    possible: bool
    target: ReleaseRef | None
    reason: str
    others: list[ReleaseRef] = []


class RolloutView(Answer):
    """A promotion. `finished_at` is null while it is under way; `reason` says what it waits for or why it ended."""

    id: UUID
    endpoint: str
    release: ReleaseRef
    previous: ReleaseRef | None
    strategy: str
    state: Literal["preparing", "rehearsing", "switching", "confirmed", "failed", "aborted"]
    reason: str
    evidence: dict[str, Any]
    generation: int | None
    started_by: str
    started_at: datetime
    deadline_at: datetime
    finished_at: datetime | None


class EndpointView(Answer):
    """`desired` should answer, `current` was confirmed, `candidate` is on its way; `status` says what is known."""

    name: str
    project: str
    description: str
    revision: int
    desired: ReleaseRef | None
    candidate: ReleaseRef | None
    current: ReleaseRef | None
    fallback: Fallback | None
    policy: str | None
    status: StatusView
    rollback: RollbackPreview
    rollout: RolloutView | None
    created_by: str
    created_at: datetime


class CheckView(Answer):
    """One condition of a promotion. `how_to_pass` is empty when it passed."""

    name: str
    outcome: Outcome
    finding: str
    code: str
    how_to_pass: str


class PromotionView(Answer):
    """`checks` in the order in which they are asked; `rollout` is null for a dry run."""

    endpoint: str
    release: ReleaseRef | None
    ready: bool
    checks: list[CheckView]
    gates: GateReport
    rollout: RolloutView | None
    revision: int


class ApprovalView(Answer):
    id: UUID
    endpoint: str
    release: ReleaseRef
    decision: Literal["approved", "rejected"]
    comment: str
    approver: str
    is_self_approval: bool
    evaluation_id: UUID | None
    evaluation_digest: str | None
    policy_digest: str | None
    created_at: datetime
    revoked_at: datetime | None
    revoked_by: str | None
    revocation_reason: str | None


class RollbackView(Answer):
    """Committed. `restored` null: the fallback answers. The endpoint's status tells when serving has followed.

    `only_aborted`: a rollout that had not switched was ended. Nothing was left (`left` is null), and `restored` is what
    answered all along.
    """

    endpoint: str
    message: str
    only_aborted: bool
    left: ReleaseRef | None
    restored: ReleaseRef | None
    revision: int
    generation: int
    aborted_rollout: UUID | None
    at: datetime


class HistoryEntry(Answer):
    """What was live from `since` until `until` (null: still). `by` is `carrara` when it went back by itself."""

    sequence: int
    kind: Literal["promotion", "rollback"]
    release: ReleaseRef | None
    previous: ReleaseRef | None
    is_confirmed: bool
    by: str
    reason: str
    rollout_id: UUID | None
    generation: int
    since: datetime
    until: datetime | None
