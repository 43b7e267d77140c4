"""Versions and the lives they lead: registered, checked, judged, or told why not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from carrara.contracts.contract import ModelContract
from carrara.contracts.registry import RejectionReason, VersionState
from carrara.contracts.release import ArtifactFile, ReleaseManifest
from carrara.kernel.ids import JobId, ProjectId, UserId, VersionId
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
class NewVersion:
    """A version that MLflow has numbered, as it enters our registry. `files` of an adopted one are copied later."""

    model: str
    number: int
    source: VersionSource
    author_id: UserId
    description: str = ""
    job_id: JobId | None = None
    mlflow_run_id: str | None = None
    mlflow_source: str | None = None
    task: str | None = None
    artifact_digest: str | None = None
    files: tuple[ArtifactFile, ...] = ()
    flavor: str | None = None
    serialization: str | None = None
    contract: ModelContract | None = None
    golden_candidates: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    lineage: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Version:
    """A version in the registry."""

    id: VersionId
    project_id: ProjectId
    state: VersionState
    said: NewVersion

    @property
    def name(self) -> str:
        return f"{self.said.model} version {self.said.number}"


@dataclass(frozen=True)
class Checked:
    """What a validation found out, ready to be written: the contract that holds, and the release that it makes."""

    contract: ModelContract
    flavor: str
    serialization: str
    manifest: ReleaseManifest


_REASONS = {reason.value: reason for reason in RejectionReason} | {"unsafe_model": RejectionReason.UNSAFE}


def reason_of(job_error: str) -> RejectionReason:
    """The rejection that the reason of a failed validate job means; what has no kind of its own failed to load."""
    return _REASONS.get(job_error, RejectionReason.LOAD_FAILED)
