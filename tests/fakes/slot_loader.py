"""Releases without files: a loader whose releases answer with `FakeRuntime`, through the real decoder."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.fakes.runtime import FakeRuntime
from tests.support.releases import ODD_CONTRACT, TestRelease

from carrara.contracts.release import GoldenRows, GoldenSet, ReleaseManifest, Runtime
from carrara.inference.artifacts import VerifiedArtifact
from carrara.inference.slot import LoadedRelease, Rehearsal, SlotFailed
from carrara.kernel.clock import SystemClock
from carrara.kernel.digests import Digest, digest_json


@dataclass
class FakeLoader:
    """Loads at once, or when `gate` opens; fails for the digests in `failing`, and raises `fault` if it is given."""

    clock: SystemClock = field(default_factory=SystemClock)
    failing: set[str] = field(default_factory=set)
    gate: asyncio.Event | None = None
    fault: Exception | None = None
    runtimes: dict[str, FakeRuntime] = field(default_factory=dict)

    async def load(self, digest: str, manifest: ReleaseManifest) -> LoadedRelease:
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        if digest in self.failing:
            raise SlotFailed("no such luck", code="load_failed")
        runtime = self.runtimes[digest] = FakeRuntime(offset=manifest.version * 100.0)
        golden = GoldenRows(columns={"value": [1.0]}, outputs={"prediction": [1.0 + manifest.version * 100.0]})
        artifact = VerifiedArtifact(Path("nowhere"), Digest(digest), golden)
        release = LoadedRelease(digest, manifest, artifact, runtime=runtime, max_rows=100)
        release.rehearsal = Rehearsal(1, 0.1, datetime.now(UTC), self.clock.monotonic())
        return release


def release(version: int) -> TestRelease:
    manifest = ReleaseManifest(
        project="flights",
        model="late",
        version=version,
        artifact_digest=digest_json(version),
        files=[],
        contract=ODD_CONTRACT,
        golden=GoldenSet(digest=digest_json("golden"), rows=1, absolute_tolerance=0.0),
        runtime=Runtime(
            kind="python",
            flavor="sklearn",
            serialization="skops",
            python_version="3.11",
            environment_digest=digest_json("environment"),
        ),
    )
    return TestRelease(manifest.digest(), manifest)
