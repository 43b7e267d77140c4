"""Jobs on the wire."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import Field

from carrara.contracts.wire import Answer, Wire


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobKind(StrEnum):
    TRAIN = "train"
    VALIDATE = "validate"
    EVALUATE = "evaluate"


class ErrorClass(StrEnum):
    """USER: the same input would fail again. SYSTEM: it was not the job's fault; these retry by themselves."""

    USER = "user"
    SYSTEM = "system"


class JobError(Answer):
    """`reason` is stable (`worker_killed`, `out_of_memory`, `timed_out`, `raised`, ...); `message` says what to do."""

    error_class: ErrorClass
    reason: str
    message: str
    traceback: str | None = None
    facts: dict[str, Any] = {}


class JobProgress(Answer):
    """`fraction` from 0 to 1, None when it cannot be known."""

    fraction: float | None = None
    message: str = ""
    metrics: dict[str, float] = {}


class SubmitJob(Wire):
    """A request for work. `spec` is checked against its kind before anything is queued."""

    kind: JobKind = JobKind.TRAIN
    spec: dict[str, Any]
    priority: int = Field(0, ge=-10, le=10)
    max_attempts: int = Field(2, ge=1, le=10)


class FollowUpError(Answer):
    """Why what must follow a job that succeeded (a version of what it trained) is not there yet. `given_up`: it will
    not be tried again."""

    message: str
    given_up: bool


class JobView(Answer):
    """A job as it stands. `attempt` counts starts; a lease that ran out starts another one."""

    id: UUID
    project: str
    kind: str
    state: JobState
    attempt: int
    max_attempts: int
    spec: dict[str, Any]
    progress: JobProgress
    result: dict[str, Any] | None
    error: JobError | None
    follow_up_error: FollowUpError | None = None
    cancel_requested: bool
    submitted_by: str
    parent_job_id: UUID | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class LogChunk(Answer):
    """A piece of a job's output. Ask again with `after=<attempt>.<chunk>` of the last one for what came since."""

    attempt: int
    chunk: int
    text: str
    created_at: datetime


class JobLog(Answer):
    """Output behind a place. Pass `next` as `after` for what comes; `is_complete`: the job is over and this was all."""

    items: list[LogChunk]
    next: str
    state: JobState
    is_complete: bool


class CodeBundleFile(Answer):
    """One file of a bundle; `path` is relative, with `/`."""

    path: str
    digest: str
    size: int


class CodeBundleView(Answer):
    """Code that a training spec may name by `digest`. The same files give the same digest, and are stored once."""

    digest: str
    byte_count: int
    files: list[CodeBundleFile]
    git_commit: str | None
    git_is_dirty: bool | None
    created_by: str
    created_at: datetime
