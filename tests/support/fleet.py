"""Serving processes that do what the route table says and report through the real store of leases."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from carrara.contracts.release import ReleaseManifest
from carrara.contracts.routes import EndpointReport, InstanceReport, ReleaseReport, RouteTable, SlotMode, SlotState
from carrara.deployments import instance_store, route_store
from carrara.kernel.digests import digest_bytes
from carrara.kernel.ids import uuid7
from carrara.persistence.database import EVERYTHING, Database


def read_routes(database: Database) -> RouteTable:
    """The route table as it stands."""
    with database.transaction(EVERYTHING) as session:
        return route_store.read_route_table(session)


@dataclass
class Process:
    """A serving process that does at once what the route table says, unless it is told to misbehave."""

    database: Database
    instance: str
    index: int
    boot_id: UUID = field(default_factory=uuid7)
    broken: dict[str, str] = field(default_factory=dict)
    loading: set[str] = field(default_factory=set)
    wrong_hash: set[str] = field(default_factory=set)
    frozen_table: RouteTable | None = None
    golden_age_seconds: float = 0.0
    reports: int = 0

    def report(self, *, lease_seconds: float = 30.0) -> int:
        table = self.frozen_table or read_routes(self.database)
        releases = [self._release(digest, manifest) for digest, manifest in table.releases.items()]
        ready = {release.digest for release in releases if release.state is SlotState.READY}
        endpoints = []
        for route in table.endpoints:
            live = [slot.release for slot in route.slots if slot.mode is SlotMode.LIVE and slot.release in ready]
            report = EndpointReport(project=route.project, endpoint=route.endpoint, live=live, on_fallback=not live)
            endpoints.append(report)
        self.reports += 1
        told = InstanceReport(
            instance=self.instance,
            index=self.index,
            boot_id=self.boot_id,
            sequence=self.reports,
            generation=table.generation,
            releases=releases,
            endpoints=endpoints,
        )
        with self.database.transaction(EVERYTHING) as session:
            return instance_store.renew_lease(session, told, lease_seconds=lease_seconds)

    def _release(self, digest: str, manifest: ReleaseManifest) -> ReleaseReport:
        if digest in self.broken:
            return ReleaseReport(
                digest=digest, state=SlotState.FAILED, error_code="load_failed", error=self.broken[digest]
            )
        if digest in self.loading:
            return ReleaseReport(digest=digest, state=SlotState.LOADING)
        hashed = digest_bytes(b"other bytes") if digest in self.wrong_hash else manifest.digest()
        return ReleaseReport(
            digest=digest,
            state=SlotState.READY,
            hashed_digest=hashed,
            load_seconds=0.5,
            golden_rows=manifest.golden.rows,
            golden_seconds=0.01,
            golden_at=datetime.now(UTC),
            golden_age_seconds=self.golden_age_seconds,
        )


@dataclass
class Fleet:
    processes: list[Process]

    def report(self) -> None:
        for process in self.processes:
            process.report()


def make_fleet(database: Database, size: int = 2) -> Fleet:
    return Fleet([Process(database, "serving-1", index) for index in range(size)])
