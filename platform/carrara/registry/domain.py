"""Versions and the lives they lead: registered, checked, judged, or told why not."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from carrara.contracts.registry import RejectionReason, VersionState
from carrara.kernel.ids import JobId, UserId
from carrara.kernel.state_machine import StateMachine

JOB_TAG = "carrara.job"
AUTHOR_TAG = "carrara.author"
TAG_PREFIX = "carrara."

VERSION_STATES: StateMachine[VersionState] = StateMachine(
    "version",
    {
        VersionState.REGISTERED: frozenset({VersionState.VALIDATED, VersionState.REJECTED, VersionState.RETIRED}),
        VersionState.VALIDATED: frozenset({VersionState.EVALUATED, VersionState.RETIRED}),
        VersionState.EVALUATED: frozenset({VersionState.RETIRED}),
        VersionState.REJECTED: frozenset({VersionState.RETIRED}),
    },
)


class VersionSource(StrEnum):
    """JOB: trained here. MLFLOW: registered through the stock client, and adopted."""

    JOB = "job"
    MLFLOW = "mlflow"


@dataclass(frozen=True)
class Rejection:
    """Why a version can never become a release, and what its author should do."""

    reason: RejectionReason
    message: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Adoptable:
    """A version as MLflow has it, of which Carrara knows nothing yet. `source` is where its files are in MLflow."""

    model: str
    number: int
    source: str
    run_id: str | None
    author_id: UserId
    description: str = ""


@dataclass(frozen=True)
class FollowUp:
    """What comes after a validation that went well: an evaluation on `split_id`, if there is one."""

    split_id: str | None = None
    endpoint: str | None = None
    policy: dict[str, Any] | None = None


@dataclass(frozen=True)
class Registered:
    """A version that is now ours, and the job that validates it."""

    model: str
    number: int
    job_id: JobId


_REASONS = {reason.value: reason for reason in RejectionReason}
_OF_JOB_ERRORS = {"unsafe_model": RejectionReason.UNSAFE, "digest_mismatch": RejectionReason.LOAD_FAILED}


def reason_of(job_error: str) -> RejectionReason:
    """The rejection that the reason of a failed validate job means; what has no own kind failed to load."""
    return _REASONS.get(job_error) or _OF_JOB_ERRORS.get(job_error, RejectionReason.LOAD_FAILED)
