"""A town of its own for a serving test: a store, a fake platform, a real `carrara serving`."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.releases import TestRelease, odd_release
from tests.support.serving import TOKEN, FakePlatform, Serving, route
from tests.support.waiting import eventually

from carrara.contracts.routes import EndpointRoute, ReleaseReport, SlotState
from carrara.kernel.ids import uuid7
from carrara.storage.blobs import Blobs
from carrara.storage.factory import open_store


@dataclass
class Town:
    """`publish` hands out route tables with rising generations; `wait_for` waits until all processes follow."""

    folder: Path
    platform: FakePlatform
    serving: Serving
    blobs: Blobs
    generation: int = 0
    releases: dict[str, TestRelease] = field(default_factory=dict)

    def odd(self, version: int, *, offset: float = 0.0) -> TestRelease:
        """A release of `OddModel`."""
        return self.keep(odd_release(self.blobs, self.new_folder(), version=version, offset=offset))

    def new_folder(self) -> Path:
        """Where another model may be written."""
        return self.folder / f"model-{uuid7()}"

    def keep(self, release: TestRelease) -> TestRelease:
        self.releases[release.digest] = release
        return release

    def publish(self, *routes: EndpointRoute, tokens: Sequence[str] = (TOKEN,)) -> int:
        self.generation += 1
        named = {slot.release for endpoint in routes for slot in endpoint.slots}
        self.platform.publish(self.generation, routes, [self.releases[digest] for digest in sorted(named)], tokens)
        return self.generation

    def is_live(self, release: TestRelease, endpoint: str = "late") -> bool:
        """Whether every process answers with this release, at the newest generation."""
        for report in self.platform.newest_reports(self.serving.workers):
            lives = [at.live for at in report.endpoints if at.endpoint == endpoint]
            if report.generation < self.generation or lives != [[release.digest]]:
                return False
        return True

    def wait_for(self, release: TestRelease, *, within_seconds: float = 60) -> None:
        eventually(lambda: self.is_live(release), within_seconds=within_seconds, what="the release is live everywhere")

    def failures_of(self, release: TestRelease) -> list[ReleaseReport]:
        """What each process says about a release that failed; AssertionError until all have."""
        found = [
            report
            for instance in self.platform.newest_reports(self.serving.workers)
            for report in instance.releases
            if report.digest == release.digest and report.state is SlotState.FAILED
        ]
        assert len(found) == self.serving.workers
        return found


@contextlib.contextmanager
def open_town(folder: Path, *, workers: int = 2, settings: Mapping[str, str] | None = None) -> Iterator[Town]:
    """Serving runs; its platform is there and has no table yet."""
    platform = FakePlatform()
    platform.come()
    serving = Serving(folder, platform.url, workers, settings or {})
    town = Town(folder, platform, serving, Blobs(open_store(str(folder / "store"), s3_endpoint_url=None)))
    try:
        serving.start()
        yield town
    finally:
        serving.stop()
        platform.go_away()


def live_town(town: Town) -> TestRelease:
    """Version 1 of `OddModel` answers at `flights/late`."""
    first = town.odd(1)
    town.publish(route(first))
    town.wait_for(first)
    return first
