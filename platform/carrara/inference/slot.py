"""One release in this process: fetched, hashed, loaded and tried on its golden set before it answers anybody."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from carrara.contracts.release import GoldenRows, ReleaseManifest
from carrara.inference.artifacts import ArtifactCache, VerifiedArtifact
from carrara.inference.decode import RequestDecoder
from carrara.inference.failures import LoadFailed
from carrara.inference.golden import first_difference
from carrara.inference.ports import ModelFolder, Runtime
from carrara.kernel.clock import Clock
from carrara.kernel.errors import CarraraError, Corrupted, NotFound, Refused, Unavailable

StartRuntime = Callable[[ModelFolder], Awaitable[Runtime]]


class SlotFailed(CarraraError):  # noqa: N818
    """Why a release cannot serve here. `code` is one of digest_mismatch, artifact_missing, store_unavailable,
    load_failed, load_timeout, sandbox_refused, wrong_golden_answers, internal (a fault of ours)."""


@dataclass(frozen=True)
class Rehearsal:
    """That the golden set was answered: how many rows, in how many seconds, when. `ended`: `at` on the monotonic clock,
    from which its age is told; a wall clock can be wrong."""

    rows: int
    seconds: float
    at: datetime
    ended: float


class LoadedRelease:
    """A release that can answer. `in_flight` counts requests that hold it; it is closed only when there is none."""

    def __init__(
        self, digest: str, manifest: ReleaseManifest, artifact: VerifiedArtifact, *, runtime: Runtime, max_rows: int
    ) -> None:
        self.digest = digest
        self.manifest = manifest
        self.hashed_digest = artifact.hashed_digest
        self.runtime = runtime
        self.decoder = RequestDecoder(manifest.contract, max_rows=max_rows)
        self.in_flight = 0
        self.load_seconds = 0.0
        self.rehearsal: Rehearsal | None = None
        self._golden = artifact.golden
        self._max_rows = max_rows

    async def rehearse(self, clock: Clock) -> None:
        """Answers the golden set through the same decoder and runtime as any request; `SlotFailed` if it cannot."""
        started = clock.monotonic()
        try:
            outputs = await self._answer_golden()
        except CarraraError as error:
            raise SlotFailed(
                f"it cannot answer its golden set: {error.message}", code="wrong_golden_answers"
            ) from error
        tolerance = self.manifest.golden.absolute_tolerance
        if difference := first_difference(self._golden.outputs, outputs, tolerance):
            raise SlotFailed(f"it does not give its golden answers: {difference}", code="wrong_golden_answers")
        ended = clock.monotonic()
        self.rehearsal = Rehearsal(self.manifest.golden.rows, ended - started, clock.now(), ended)

    async def _answer_golden(self) -> dict[str, list[Any]]:
        outputs: dict[str, list[Any]] = {name: [] for name in self._golden.outputs}
        for columns in _chunks(self._golden, self._max_rows):
            batch = self.decoder.decode_columns(columns)
            answer = await self.runtime.predict(batch.columns, batch.rows)
            if answer.keys() != outputs.keys():
                return answer
            for name, values in answer.items():
                outputs[name] += values
        return outputs

    async def drained(self, poll_seconds: float = 0.02) -> None:
        """Returns when no request holds it any more."""
        while self.in_flight:
            await asyncio.sleep(poll_seconds)


@dataclass(frozen=True)
class SlotLoader:
    """Takes a release from its digest to a `LoadedRelease` that has answered its golden set."""

    cache: ArtifactCache
    start_runtime: StartRuntime
    clock: Clock
    max_rows: int

    async def load(self, digest: str, manifest: ReleaseManifest) -> LoadedRelease:
        """Fetch, hash, load, rehearse. `SlotFailed` says which step failed and why; nothing is left behind then, nor
        after an error that nobody foresaw."""
        started = self.clock.monotonic()
        artifact = await self._verified(digest, manifest)
        _check_python(manifest)
        runtime = await self._started(artifact, manifest)
        try:
            release = LoadedRelease(digest, manifest, artifact, runtime=runtime, max_rows=self.max_rows)
            await release.rehearse(self.clock)
        except BaseException:
            await asyncio.shield(runtime.close())
            raise
        release.load_seconds = self.clock.monotonic() - started
        return release

    async def _verified(self, digest: str, manifest: ReleaseManifest) -> VerifiedArtifact:
        try:
            return await asyncio.to_thread(self.cache.open, digest, manifest)
        except Corrupted as error:
            raise SlotFailed(error.message, code="digest_mismatch", **error.facts) from error
        except NotFound as error:
            raise SlotFailed(f"its files are not in the object store: {error}", code="artifact_missing") from error
        except (Unavailable, OSError) as error:
            raise SlotFailed(f"its files could not be fetched: {error}", code="store_unavailable") from error
        except (CarraraError, ValidationError, ValueError) as error:
            raise SlotFailed(f"its manifest or golden set is wrong: {error}", code="load_failed") from error

    async def _started(self, artifact: VerifiedArtifact, manifest: ReleaseManifest) -> Runtime:
        folder = ModelFolder(
            artifact.folder, manifest.contract, manifest.runtime.flavor, manifest.runtime.serialization
        )
        try:
            return await self.start_runtime(folder)
        except Refused as error:
            raise SlotFailed(error.message, code="sandbox_refused") from error
        except LoadFailed as error:
            code = error.code if error.code == "load_timeout" else "load_failed"
            raise SlotFailed(error.message, code=code) from error
        except (CarraraError, OSError) as error:
            raise SlotFailed(f"its process could not be started: {error}", code="load_failed") from error


def _check_python(manifest: ReleaseManifest) -> None:
    """A pickle of another Python's does not load, or worse, it does."""
    made_with = manifest.runtime.python_version.split(".")[:2]
    here = [str(part) for part in sys.version_info[:2]]
    if made_with != here:
        raise SlotFailed(
            f"it was made with Python {'.'.join(made_with)} and this is {'.'.join(here)}; register it again from here",
            code="load_failed",
        )


def _chunks(golden: GoldenRows, rows: int) -> list[dict[str, list[Any]]]:
    total = max((len(values) for values in golden.columns.values()), default=0)
    return [
        {name: values[start : start + rows] for name, values in golden.columns.items()}
        for start in range(0, total, rows)
    ]
