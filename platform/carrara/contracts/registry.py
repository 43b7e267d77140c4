"""Models, versions, lineage and releases on the wire."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from carrara.contracts.contract import ModelContract
from carrara.contracts.release import ArtifactFile, ReleaseManifest
from carrara.contracts.wire import Answer, Wire
from carrara.kernel.names import SlugField


class VersionState(StrEnum):
    """REGISTERED waits for its validation. Only VALIDATED and EVALUATED versions have a release."""

    REGISTERED = "registered"
    VALIDATED = "validated"
    EVALUATED = "evaluated"
    REJECTED = "rejected"
    RETIRED = "retired"


class RejectionReason(StrEnum):
    """UNSAFE: loading it would run code that the project does not allow. NO_EXAMPLE: no rows to ask it."""

    UNSAFE = "unsafe"
    LOAD_FAILED = "load_failed"
    WRONG_ANSWER = "wrong_answer"
    NO_SIGNATURE = "no_signature"
    NO_EXAMPLE = "no_example"
    TOO_LARGE = "too_large"
    UNREADABLE_SOURCE = "unreadable_source"


class RejectionView(Answer):
    """Why a version can never become a release, and what to do. `facts` name the file, the type, the row."""

    reason: RejectionReason
    message: str
    facts: dict[str, Any] = {}


class ModelView(Answer):
    """A model and its newest version."""

    id: UUID
    name: str
    description: str
    created_at: datetime
    created_by: str
    versions: int
    latest_version: int | None
    latest_state: VersionState | None


class VersionSummary(Answer):
    """A version as listings show it. `release` is the digest to promote, once it is validated."""

    id: UUID
    model: str
    number: int
    state: VersionState
    source: str
    task: str | None
    author: str
    release: str | None
    metrics: dict[str, Any]
    rejection: RejectionView | None
    created_at: datetime


class VersionView(VersionSummary):
    """All of a version. `inspection` is what was seen in its files without loading them: advice, never proof."""

    job_id: UUID | None
    mlflow_run_id: str | None
    artifact_digest: str | None
    artifact_bytes: int | None
    files: list[ArtifactFile]
    flavor: str | None
    serialization: str | None
    inspection: dict[str, Any] | None
    contract: ModelContract | None
    lineage: dict[str, Any]


class ReleaseView(Answer):
    """A release: its digest is its name everywhere."""

    id: UUID
    digest: str
    model: str
    version: int
    state: VersionState
    author: str
    manifest: ReleaseManifest
    created_at: datetime


class LineageStep(Answer):
    """One thing on the way from data to release: `kind` is data, code, job, run, version, evaluation or release."""

    kind: str
    id: str
    name: str
    facts: dict[str, Any] = {}


class LineageView(Answer):
    """Where a version comes from and what became of it, in that order."""

    model: str
    version: int
    steps: list[LineageStep]


class RetireVersion(Wire):
    """Takes a version out of use. What serves it, or would be rolled back to, refuses."""

    reason: str = Field(min_length=1, max_length=2000, examples=["superseded by version 7"])


class ValidateSpec(Wire):
    """Spec of a validate job. With `evaluate`, an evaluation follows if all goes well."""

    schema_version: Literal[1] = 1
    version_id: UUID
    evaluate: bool = False
    split_id: UUID | None = None
    endpoint: SlugField | None = None
    policy: dict[str, Any] | None = None


class ValidationResult(Answer):
    """`result` of a validate job that succeeded."""

    version_id: UUID
    release: str
    golden_rows: int
    load_seconds: float
    single_row_milliseconds: float
    notes: list[str] = []
    evaluation_job_id: UUID | None = None
