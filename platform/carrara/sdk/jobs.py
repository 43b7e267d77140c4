"""Jobs: submit, watch, cancel."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

from carrara.contracts.jobs import JobKind, JobLog, JobState, JobView, LogChunk, SubmitJob
from carrara.sdk.transport import Transport

FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class Jobs:
    """The jobs of one project."""

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self._path = f"{path}/jobs"

    def submit(
        self, spec: Mapping[str, Any], *, kind: JobKind = JobKind.TRAIN, priority: int = 0, key: str | None = None
    ) -> JobView:
        """Queues work. With the same `key` a second call gives the same job."""
        body = SubmitJob(kind=kind, spec=dict(spec), priority=priority)
        return self._transport.write("POST", self._path, JobView, body=body, key=key)

    def get(self, job_id: UUID) -> JobView:
        return self._transport.get(f"{self._path}/{job_id}", JobView)

    def all(
        self, *, state: JobState | None = None, kind: JobKind | None = None, limit: int | None = None
    ) -> Iterator[JobView]:
        """Newest first."""
        return self._transport.pages(self._path, JobView, limit=limit, state=state, kind=kind)

    def cancel(self, job_id: UUID) -> JobView:
        """Asks the job to stop; doing it twice, or after its end, changes nothing."""
        return self._transport.write("POST", f"{self._path}/{job_id}/cancel", JobView)

    def retry(self, job_id: UUID) -> JobView:
        """A new job with the same spec, which names the old one as its parent."""
        return self._transport.write("POST", f"{self._path}/{job_id}/retry", JobView)

    def logs(self, job_id: UUID, *, follow: bool = False) -> Iterator[LogChunk]:
        """What the job printed; with `follow`, until it ends."""
        after: str | None = None
        while True:
            log = self._transport.get(f"{self._path}/{job_id}/logs", JobLog, after=after, wait=20 if follow else 0)
            yield from log.items
            after = log.next
            if log.is_complete or not (follow or log.items):
                return

    def wait(
        self,
        job_id: UUID,
        *,
        timeout_seconds: float | None = None,
        on_change: Callable[[JobView], None] | None = None,
    ) -> JobView:
        """The job once it has ended, however it ended. `on_change` sees it each time that it was looked at."""
        deadline = time.monotonic() + timeout_seconds if timeout_seconds is not None else None
        while True:
            job = self.get(job_id)
            if on_change is not None:
                on_change(job)
            if job.state in FINAL:
                return job
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"job {job_id} is still {job.state} after {timeout_seconds:g} s")
            time.sleep(0.25)
