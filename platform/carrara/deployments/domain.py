"""Endpoints, approvals, rollouts and the ledger, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from carrara.contracts.routes import Fallback
from carrara.kernel.digests import Digest
from carrara.kernel.ids import (
    ApprovalId,
    EndpointId,
    EvaluationId,
    PolicyId,
    ProjectId,
    ReleaseId,
    RolloutId,
    UserId,
    VersionId,
)
from carrara.kernel.state_machine import StateMachine

MAX_REHEARSAL_AGE_SECONDS = 900.0
"""A golden pass older than this is no rehearsal of a release that waits. Serving repeats them every 300 s."""


class Outcome(StrEnum):
    """The three answers of a check. The third holds; it never lets anything through."""

    PASSED = "passed"
    FAILED = "failed"
    COULD_NOT_TELL = "could_not_tell"


@dataclass(frozen=True)
class Check:
    """One question with its answer. `code` is stable; `how_to_pass` is empty when it passed."""

    name: str
    outcome: Outcome
    finding: str
    code: str = ""
    how_to_pass: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return self.outcome is Outcome.PASSED


@dataclass(frozen=True)
class Release:
    """What a release is to an endpoint."""

    id: ReleaseId
    digest: Digest
    version_id: VersionId
    model: str
    number: int
    golden_rows: int

    @property
    def title(self) -> str:
        return f"{self.model} v{self.number}"


@dataclass(frozen=True)
class VersionFacts:
    """A version that someone wants to promote. `release` is None until its validation has made one."""

    id: VersionId
    model: str
    number: int
    state: str
    rejection: Mapping[str, Any] | None
    author_id: UserId
    release: Release | None

    @property
    def title(self) -> str:
        return f"{self.model} v{self.number}"


@dataclass(frozen=True)
class Endpoint:
    """A stable address. `desired` is what should answer, `candidate` what is on its way, `current` what was confirmed,
    `rollback_target` what a rollback would bring back (None: the fallback). `revision` counts every change."""

    id: EndpointId
    project_id: ProjectId
    name: str
    description: str
    revision: int
    desired: ReleaseId | None
    candidate: ReleaseId | None
    current: ReleaseId | None
    rollback_target: ReleaseId | None
    fallback: Fallback | None
    policy_id: PolicyId | None
    created_by: UserId
    created_at: datetime


class RolloutState(StrEnum):
    """PREPARING: the candidate loads. REHEARSING: the way back is tested. SWITCHING: it answers, not yet confirmed."""

    PREPARING = "preparing"
    REHEARSING = "rehearsing"
    SWITCHING = "switching"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    ABORTED = "aborted"


_ENDS = frozenset({RolloutState.FAILED, RolloutState.ABORTED})
ROLLOUT_STATES = StateMachine(
    "rollout",
    {
        RolloutState.PREPARING: _ENDS | {RolloutState.REHEARSING},
        RolloutState.REHEARSING: _ENDS | {RolloutState.SWITCHING},
        RolloutState.SWITCHING: _ENDS | {RolloutState.CONFIRMED},
    },
)


@dataclass(frozen=True)
class Rollout:
    """One promotion under way or ended. `generation` is the route table that gave the release its requests."""

    id: RolloutId
    endpoint_id: EndpointId
    release_id: ReleaseId
    previous_release_id: ReleaseId | None
    approval_id: ApprovalId
    strategy: str
    state: RolloutState
    reason: str
    evidence: Mapping[str, Any]
    generation: int | None
    started_by: UserId
    started_at: datetime
    deadline_at: datetime
    finished_at: datetime | None

    @property
    def has_switched(self) -> bool:
        """Whether requests were given to the release, so that to leave it is to go back."""
        return self.state in (RolloutState.SWITCHING, RolloutState.CONFIRMED)


class Decision(StrEnum):
    APPROVED = "approved"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Approval:
    """What a person decided about a release at an endpoint, and on which evidence."""

    id: ApprovalId
    release_id: ReleaseId
    endpoint_id: EndpointId
    evaluation_id: EvaluationId | None
    evaluation_digest: str | None
    policy_digest: str | None
    decision: Decision
    comment: str
    approver_id: UserId
    is_self_approval: bool
    created_at: datetime
    revoked_at: datetime | None = None
    revoked_by: UserId | None = None
    revocation_reason: str | None = None


class LedgerKind(StrEnum):
    PROMOTION = "promotion"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class LedgerEntry:
    """What answered from `at` until the next entry. `release_id` None: the fallback. `actor_id` None: Carrara itself.

    `is_confirmed`: the promotion's rollout ended confirmed; every serving process held a rollback's target when it was
    chosen, or it is the fallback, which needs no loading. `is_gone`: the version was retired or rejected since.
    """

    sequence: int
    kind: LedgerKind
    release_id: ReleaseId | None
    previous_release_id: ReleaseId | None
    rollout_id: RolloutId | None
    generation: int
    actor_id: UserId | None
    reason: str
    at: datetime
    is_confirmed: bool
    is_gone: bool = False


@dataclass(frozen=True)
class By:
    """Who does it. `id` None: Carrara itself, by a rule."""

    id: UserId | None
    name: str


CARRARA = By(None, "carrara")


@dataclass(frozen=True)
class Move:
    """What the ledger is to say next: this release answers from now on (None: the fallback). `evidence`: what a
    rollback's target rested on."""

    kind: LedgerKind
    release_id: ReleaseId | None
    rollout_id: RolloutId | None
    by: By
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
