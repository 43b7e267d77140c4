"""Jobs and the code that they run."""

import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool

from carrara.access.policy import Permission
from carrara.api.call import Call, allowed
from carrara.api.heavy import run_heavy
from carrara.contracts.jobs import CodeBundleView, JobKind, JobLog, JobState, JobView, SubmitJob
from carrara.contracts.wire import Page
from carrara.jobs import bundles
from carrara.jobs.bundles import MAX_ARCHIVE_BYTES, StoredBundle
from carrara.kernel.digests import digest_json
from carrara.kernel.errors import TooLarge

router = APIRouter(tags=["jobs"])

_LOOK_EVERY_SECONDS = 0.25
_JOBS = "/projects/{project}/jobs"
_BUNDLES = "/projects/{project}/code-bundles"
Reader = Annotated[Call, Depends(allowed(Permission.READ))]
Submitter = Annotated[Call, Depends(allowed(Permission.SUBMIT_JOB))]
Pusher = Annotated[Call, Depends(allowed(Permission.SUBMIT_JOB, streams_body=True))]


@router.post(_JOBS, status_code=201)
async def submit_job(request: Request, call: Submitter, body: SubmitJob) -> JobView:
    """Queue work. Its spec is checked against its kind before it is queued."""
    jobs = call.services.jobs
    preparation = await run_in_threadpool(jobs.preparation, call.project.id, call.actor.id, body.kind, body.spec)
    if preparation is not None:
        await run_heavy(request, preparation)
    return await run_in_threadpool(
        call.write, 201, lambda session: jobs.request(session, call.project.id, call.actor, body)
    )


@router.get(_JOBS)
def list_jobs(
    call: Reader,
    state: JobState | None = None,
    kind: JobKind | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    after: UUID | None = None,
) -> Page[JobView]:
    """Jobs of the project, newest first."""
    return call.read(
        lambda session: call.services.jobs.list(
            session, call.project.id, state=state, kind=kind, limit=limit, after=after
        )
    )


@router.get(_JOBS + "/{job_id}")
def get_job(call: Reader, job_id: UUID) -> JobView:
    """A job as it stands: state, attempt, progress, result or error."""
    return call.read(lambda session: call.services.jobs.get(session, call.project.id, job_id))


@router.post(_JOBS + "/{job_id}/cancel")
def cancel_job(call: Submitter, job_id: UUID) -> JobView:
    """Stop a job: at once while it is queued, within seconds while it runs. Asked twice, the answer is the same."""
    return call.write(200, lambda session: call.services.jobs.cancel(session, call.project.id, call.actor, job_id))


@router.post(_JOBS + "/{job_id}/retry", status_code=201)
def retry_job(call: Submitter, job_id: UUID) -> JobView:
    """A new job with the spec of one that failed or was cancelled, and that one as its parent."""
    return call.write(201, lambda session: call.services.jobs.retry(session, call.project.id, call.actor, job_id))


@router.get(_JOBS + "/{job_id}/logs")
async def follow_log(
    call: Reader,
    job_id: UUID,
    after: Annotated[str | None, Query(description="`next` of the answer before")] = None,
    wait: Annotated[float, Query(ge=0, le=30, description="seconds to wait for more")] = 0,
) -> JobLog:
    """What the job printed behind `after`. With `wait`, answers as soon as there is more, or when the job is over."""
    deadline = time.monotonic() + wait
    while True:
        # No thread is held while it waits: many may follow logs at once.
        log = await run_in_threadpool(
            call.read, lambda session: call.services.jobs.logs(session, call.project.id, job_id, after)
        )
        if log.items or log.is_complete or time.monotonic() >= deadline:
            return log
        await asyncio.sleep(_LOOK_EVERY_SECONDS)


@router.post(
    _BUNDLES,
    status_code=201,
    openapi_extra={"requestBody": {"required": True, "content": {"application/gzip": {"schema": {"type": "string"}}}}},
)
async def push_code_bundle(
    request: Request,
    call: Pusher,
    git_commit: Annotated[str | None, Query(pattern="^[0-9a-f]{7,64}$")] = None,
    git_is_dirty: bool | None = None,
) -> CodeBundleView:
    """Push code as the bytes of a tar.gz: plain files, the module to run at the top. The same files are stored once."""
    with TemporaryDirectory(prefix="carrara-bundle-") as folder:
        archive = Path(folder) / "bundle.tar.gz"
        await _receive(request, archive)
        stored = await run_in_threadpool(bundles.store_archive, call.services.blobs, archive, Path(folder))
    return await run_in_threadpool(_record, call, stored, git_commit, git_is_dirty)


@router.get(_BUNDLES + "/{digest}")
def get_code_bundle(call: Reader, digest: str) -> CodeBundleView:
    """The files of a bundle, and the commit that it stands at."""
    return call.read(lambda session: bundles.get_bundle(session, call.project.id, digest))


def _record(call: Call, stored: StoredBundle, git_commit: str | None, git_is_dirty: bool | None) -> CodeBundleView:
    return call.write(
        201,
        lambda session: bundles.record_bundle(
            session, call.project.id, call.actor, stored, git_commit=git_commit, git_is_dirty=git_is_dirty
        ),
        fingerprint=digest_json([call.fingerprint, stored.digest]),
    )


async def _receive(request: Request, path: Path) -> None:
    received = 0
    with path.open("wb") as stream:
        async for block in request.stream():
            received += len(block)
            if received > MAX_ARCHIVE_BYTES:
                raise TooLarge(
                    f"the bundle is over {MAX_ARCHIVE_BYTES} bytes; push data as a dataset instead",
                    limit=MAX_ARCHIVE_BYTES,
                )
            await run_in_threadpool(stream.write, block)
