"""What a kind of job must know how to do. Features above implement it; `bootstrap` hands the handlers to the runner.

The runner calls, in order: `prepare` -> the confined child -> `publish` -> `record`. Only `record` runs in a
transaction, the fenced one: if the lease was lost, nothing of it commits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from sqlalchemy.orm import Session

from carrara.contracts.jobs import JobError, JobKind
from carrara.kernel.ids import JobId, ProjectId, UserId


@dataclass(frozen=True)
class ClaimedJob:
    """A job that this worker holds, under the fencing number `attempt`; its own `token` is valid with its lease."""

    id: JobId
    project_id: ProjectId
    project: str
    kind: JobKind
    spec: Mapping[str, Any]
    attempt: int
    max_attempts: int
    submitted_by: UserId
    token: str


@dataclass(frozen=True)
class Staging:
    """The attempt's own folder. `inputs` is read-only to the child, `outputs` and `scratch` it may write.

    `events` the child cannot reach: the runner writes every metric event there, one JSON object a line, in order:
    `name`, `value` (NaN and Infinity as Python writes them), `step`, `at` (ISO 8601).
    """

    inputs: Path
    outputs: Path
    scratch: Path
    events: Path


@dataclass(frozen=True)
class ChildWork:
    """What the child runs: `entry` is `module:function`, called with a `ChildChannel` whose argument is `argument`."""

    entry: str
    argument: Mapping[str, Any]
    import_paths: tuple[Path, ...] = ()
    may_reach_platform: bool = False
    timeout_seconds: int | None = None
    memory_bytes: int | None = None


class JobHandler(Protocol):
    """One kind of job."""

    kind: JobKind

    def check(self, session: Session, project_id: ProjectId, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """The spec, normalised, before the job is queued; `Invalid` or `NotFound` naming each fault."""
        ...

    def prepare(self, job: ClaimedJob, staging: Staging) -> ChildWork:
        """Brings the inputs into `staging.inputs`. Outside any transaction; `Unavailable` is a system error."""
        ...

    def publish(self, job: ClaimedJob, staging: Staging, result: Mapping[str, Any]) -> Mapping[str, Any]:
        """Puts `staging.outputs` into immutable blobs and gives what `record` needs. Safe to run twice."""
        ...

    def record(self, session: Session, job: ClaimedJob, published: Mapping[str, Any]) -> Mapping[str, Any]:
        """Writes the outcome in the fenced transaction and gives the job's result as JSON."""
        ...

    def record_failure(self, session: Session, job: ClaimedJob, error: JobError) -> None:
        """Writes what a final failure means (a version becomes rejected), in the fenced transaction."""
        ...


@runtime_checkable
class PreparesSpec(Protocol):
    """A kind of job whose `check` may need long work, which must not be done inside a transaction."""

    def preparation(
        self, project_id: ProjectId, user_id: UserId, spec: Mapping[str, Any]
    ) -> Callable[[], object] | None:
        """What to do before `check`, or None; nothing is done yet. `Invalid` or `NotFound` as `check` raises them.

        Called, and what it gives is called, outside any transaction. Safe to do twice, or not at all.
        """
        ...


Submit = Callable[[Session, ProjectId, UserId, JobKind, Mapping[str, Any]], JobId]
"""How a feature queues a follow-up job in its own transaction: `jobs.service.submit`, bound by `bootstrap`."""


class Doorbell(Protocol):
    """Tells workers that a job waits. Losing a ring costs a poll interval, never a job, so it never raises."""

    @property
    def last_error(self) -> str | None:
        """Why the last ring was not heard, or None: the queue is degraded while this says something."""
        ...

    def ring(self, job_id: JobId) -> None:
        """Returns within half a second, whatever state the broker is in."""
        ...
