"""Models and versions: where they come from, what they became, and their files."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from uuid import UUID

from carrara.contracts.jobs import FollowUpError, JobView
from carrara.contracts.registry import (
    LineageView,
    ModelView,
    ReleaseView,
    RetireVersion,
    VersionState,
    VersionSummary,
    VersionView,
)
from carrara.kernel.digests import digest_file
from carrara.kernel.errors import Conflict, Corrupted
from carrara.sdk.transport import Transport

SETTLED = frozenset({VersionState.EVALUATED, VersionState.REJECTED, VersionState.RETIRED})
_RECENT = 20


class Models:
    """The models of one project."""

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self._path = f"{path}/models"

    def all(self, *, search: str | None = None, limit: int | None = None) -> Iterator[ModelView]:
        """By name; `search` is any part of it."""
        return self._transport.pages(self._path, ModelView, limit=limit, search=search)

    def get(self, model: str) -> ModelView:
        return self._transport.get(f"{self._path}/{model}", ModelView)

    def versions(
        self, model: str, *, state: VersionState | None = None, limit: int | None = None
    ) -> Iterator[VersionSummary]:
        """Newest first."""
        return self._transport.pages(f"{self._path}/{model}/versions", VersionSummary, limit=limit, state=state)

    def version(self, model: str, number: int) -> VersionView:
        return self._transport.get(f"{self._path}/{model}/versions/{number}", VersionView)

    def lineage(self, model: str, number: int) -> LineageView:
        return self._transport.get(f"{self._path}/{model}/versions/{number}/lineage", LineageView)

    def retire(self, model: str, number: int, *, reason: str) -> VersionView:
        path = f"{self._path}/{model}/versions/{number}/retire"
        return self._transport.write("POST", path, VersionView, body=RetireVersion(reason=reason))

    def release(self, digest: str) -> ReleaseView:
        base = self._path.removesuffix("/models")
        return self._transport.get(f"{base}/releases/{digest}", ReleaseView)

    def wait_for_job(
        self,
        model: str,
        job_id: UUID,
        *,
        until: frozenset[VersionState] = SETTLED,
        timeout_seconds: float = 300.0,
        on_change: Callable[[VersionView], None] | None = None,
    ) -> VersionView:
        """The version that a finished training job gave, once it is evaluated (or rejected).

        `Conflict(follow_up_failed)` with the reason if Carrara gave up registering what the job trained.
        """
        deadline = time.monotonic() + timeout_seconds
        number: int | None = None
        while True:
            number = number or self._number_of_job(model, job_id)
            if number is not None:
                version = self.version(model, number)
                if on_change is not None:
                    on_change(version)
                if version.state in until:
                    return version
            failure = self._follow_up_error(job_id) if number is None else None
            if failure is not None and failure.given_up:
                what = f"job {job_id} trained {model}, but making a version of it was given up: {failure.message}"
                raise Conflict(what, code="follow_up_failed", job_id=str(job_id))
            if time.monotonic() > deadline:
                why = f": {failure.message}" if failure else ""
                raise TimeoutError(f"no version of {model} from job {job_id} was ready in {timeout_seconds:g} s{why}")
            time.sleep(0.25)

    def pull(self, model: str, number: int, directory: Path) -> VersionView:
        """Downloads the model folder; each file is checked against its digest. Load it with `mlflow.pyfunc`."""
        version = self.version(model, number)
        for file in version.files:
            path = _inside(directory, file.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            source = f"{self._path}/{model}/versions/{number}/files/{file.path}"
            partial = path.with_name(path.name + ".partial")
            with self._transport.stream("GET", source) as response:
                response.raise_for_status()
                with partial.open("wb") as target:
                    for block in response.iter_bytes():
                        target.write(block)
            if digest_file(partial)[0] != file.digest:
                partial.unlink()
                raise Corrupted(f"{file.path} arrived with another digest than {file.digest}; pull again")
            partial.replace(path)
        return version

    def _follow_up_error(self, job_id: UUID) -> FollowUpError | None:
        base = self._path.removesuffix("/models")
        return self._transport.get(f"{base}/jobs/{job_id}", JobView).follow_up_error

    def _number_of_job(self, model: str, job_id: UUID) -> int | None:
        from_jobs = self._transport.pages(f"{self._path}/{model}/versions", VersionSummary, limit=_RECENT, job=job_id)
        return next((version.number for version in from_jobs), None)


def _inside(directory: Path, name: str) -> Path:
    """Where a file of the model folder goes: nowhere outside, and through no link that lies there."""
    parts = PurePosixPath(name).parts
    path = directory.joinpath(*parts)
    if (
        not parts
        or name.startswith("/")
        or {"..", "\\"} & set(parts)
        or not path.resolve().is_relative_to(directory.resolve())
    ):
        raise Corrupted(f"the platform names a file {name!r}, which would lie outside {directory}")
    return path
