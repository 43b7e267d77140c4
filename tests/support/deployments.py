"""A project with evaluated versions, and serving processes that report through the real store."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session
from tests.support.people import give_roles, make_actor, make_project

import carrara.bootstrap.schema  # noqa: F401  # every table, so that foreign keys resolve
from carrara.access.domain import Actor, MemberRole, Project
from carrara.contracts import deployments as wire
from carrara.contracts.contract import ModelContract
from carrara.contracts.gates import GateReport, Outcome, Verdict
from carrara.contracts.release import ArtifactFile, GoldenSet, ReleaseManifest, Runtime, digest_files
from carrara.contracts.routes import (
    EndpointReport,
    Fallback,
    InstanceReport,
    ReleaseReport,
    RouteTable,
    SlotMode,
    SlotState,
)
from carrara.deployments import (
    acts,
    approving,
    instance_store,
    promoting,
    reconciler,
    rolling_back,
    route_store,
    service,
    store,
)
from carrara.deployments.domain import By, Endpoint, RolloutState, VersionFacts
from carrara.deployments.ports import Neighbours
from carrara.kernel.digests import digest_bytes
from carrara.kernel.errors import Conflict
from carrara.kernel.ids import ProjectId, ReleaseId, uuid7
from carrara.persistence.database import EVERYTHING, Database, Scope
from carrara.registry.tables import ModelRow, ReleaseRow, VersionRow

FALLBACK = Fallback(kind="constant", prediction=False)


@dataclass
class GatesBySheet:
    """Keeps to the port `Gates`: what each version gets is written down beforehand."""

    outcome: Outcome = Outcome.PASSED
    evaluation_digest: str = field(default_factory=lambda: digest_bytes(b"evaluation 1"))
    policy_digest: str = field(default_factory=lambda: digest_bytes(b"policy 1"))

    def judge(
        self, session: Session, project_id: ProjectId, version: VersionFacts, endpoint: Endpoint, live: ReleaseId | None
    ) -> GateReport:
        verdict = Verdict(
            rule="metric",
            asked="roc_auc at least 0.8",
            outcome=self.outcome,
            finding="roc_auc 0.7" if self.outcome is Outcome.FAILED else "roc_auc 0.9",
            how_to_pass="" if self.outcome is Outcome.PASSED else "train on more months",
        )
        return GateReport(
            model=version.model,
            version=version.number,
            endpoint=endpoint.name,
            outcome=self.outcome,
            verdicts=[verdict],
            policy_digest=self.policy_digest,
            policy_is_default=True,
            evaluation_id=None,
            evaluation_digest=self.evaluation_digest,
            live_release=str(live) if live else None,
            judged_at=datetime.now(UTC),
        )


@dataclass
class Town:
    """One project: `ada` writes and promotes, `bob` approves, `cyd` promotes too."""

    database: Database
    project: Project
    ada: Actor
    bob: Actor
    cyd: Actor
    gates: GatesBySheet
    deadline_seconds: float = 60.0

    @property
    def neighbours(self) -> Neighbours:
        return Neighbours(self.gates, self.deadline_seconds)

    def do(self, actor: Actor, action: Callable[[Session], Any]) -> Any:
        """`action` in a transaction of its own, as the app's role in the project's scope."""
        with self.database.transaction(Scope(self.project.id, actor.id)) as session:
            return action(session)

    def version(
        self, number: int, *, state: str = "evaluated", model: str = "delays", with_release: bool = True
    ) -> str:
        """A version by ada; gives the digest of its release."""
        manifest = _manifest(self.project.name, model, number)

        def make(session: Session) -> str:
            known = session.query(ModelRow).filter_by(project_id=self.project.id, name=model).one_or_none()
            model_id = known.id if known else uuid7()
            if known is None:
                session.add(
                    ModelRow(
                        id=model_id, project_id=self.project.id, name=model, description="", created_by=self.ada.id
                    )
                )
                session.flush()
            version_id = uuid7()
            session.add(
                VersionRow(
                    id=version_id,
                    project_id=self.project.id,
                    model_id=model_id,
                    number=number,
                    state=state,
                    rejection={"reason": "no_signature", "message": "it has no signature"}
                    if state == "rejected"
                    else None,
                    source="job",
                    artifact_files=[],
                    lineage={},
                    metrics={},
                    author_id=self.ada.id,
                )
            )
            session.flush()
            if with_release:
                session.add(
                    ReleaseRow(
                        id=uuid7(),
                        project_id=self.project.id,
                        version_id=version_id,
                        digest=manifest.digest(),
                        manifest=manifest.model_dump(mode="json"),
                    )
                )
            return manifest.digest()

        return str(self.do(self.ada, make))

    def release_id(self, digest: str) -> ReleaseId:
        found = self.do(self.ada, lambda s: s.query(ReleaseRow).filter_by(digest=digest).one().id)
        return ReleaseId(found)

    def endpoint(self, name: str = "arrivals", **values: Any) -> wire.EndpointView:
        body = wire.CreateEndpoint(name=name, **values)
        view: wire.EndpointView = self.do(self.ada, lambda s: service.create_endpoint(s, self.project, self.ada, body))
        return view

    def read(self, ask: Callable[[Session, Endpoint], Any], name: str = "arrivals") -> Any:
        """What `ask` finds about an endpoint."""
        return self.do(self.ada, lambda s: ask(s, store.find_endpoint(s, self.project.id, name)))

    def look(self, name: str = "arrivals") -> wire.EndpointView:
        view: wire.EndpointView = self.do(self.ada, lambda s: service.get_endpoint(s, self.project, name))
        return view

    def history(self, name: str = "arrivals", at: datetime | None = None) -> list[wire.HistoryEntry]:
        found: list[wire.HistoryEntry] = self.do(self.ada, lambda s: service.history(s, self.project, name, at))
        return found

    def decide(
        self, digest: str, decision: str = "approved", *, by: Actor | None = None, endpoint: str = "arrivals"
    ) -> wire.ApprovalView:
        actor = by or self.bob
        body = wire.DecideApproval.model_validate({"release": digest, "decision": decision})
        view: wire.ApprovalView = self.do(
            actor, lambda s: approving.decide(s, self.project, actor, endpoint, body, neighbours=self.neighbours)
        )
        return view

    def revoke(self, approval: UUID, endpoint: str = "arrivals") -> Any:
        return self.do(
            self.bob, lambda s: approving.revoke(s, self.project, self.bob, endpoint, approval, "found a leak")
        )

    def promote(self, digest: str, *, by: Actor | None = None, endpoint: str = "arrivals", **more: Any) -> Any:
        actor = by or self.ada
        body = wire.Promote(release=digest, **{"reason": "better", **more})
        return self.do(
            actor, lambda s: promoting.promote(s, self.project, actor, endpoint, body, neighbours=self.neighbours)
        )

    def roll_back(self, *, by: Actor | None = None, endpoint: str = "arrivals", **more: Any) -> wire.RollbackView:
        actor = by or self.cyd
        body = wire.RollBack(**{"reason": "answers are wrong", **more})
        view: wire.RollbackView = self.do(
            actor, lambda s: rolling_back.roll_back(s, self.project, actor, endpoint, body)
        )
        return view

    def routes(self) -> RouteTable:
        with self.database.transaction(EVERYTHING) as session:
            return route_store.read_route_table(session)

    def reconcile(self) -> int:
        return reconciler.reconcile(self.database)

    def go_live(self, digest: str, fleet: "Fleet", *, endpoint: str = "arrivals", **more: Any) -> wire.RolloutView:
        """Approves, promotes and waits for nothing: the fleet reports whenever the controller needs it."""
        self.decide(digest, endpoint=endpoint)
        rollout = self.promote(digest, endpoint=endpoint, **more).rollout
        for _ in range(3):
            fleet.report()
            self.reconcile()
        found: wire.RolloutView = self.do(
            self.ada, lambda s: service.get_rollout(s, self.project, endpoint, rollout.id)
        )
        assert found.state == "confirmed", found
        return found


@dataclass
class Process:
    """A serving process that does at once what the route table says, unless it is told to misbehave."""

    town: Town
    instance: str
    index: int
    boot_id: UUID = field(default_factory=uuid7)
    broken: dict[str, str] = field(default_factory=dict)
    loading: set[str] = field(default_factory=set)
    wrong_hash: set[str] = field(default_factory=set)
    frozen_table: RouteTable | None = None
    golden_at: datetime | None = None

    def report(self, *, lease_seconds: float = 30.0) -> int:
        table = self.frozen_table or self.town.routes()
        releases = [self._release(digest, manifest) for digest, manifest in table.releases.items()]
        ready = {release.digest for release in releases if release.state is SlotState.READY}
        endpoints = []
        for route in table.endpoints:
            live = [slot.release for slot in route.slots if slot.mode is SlotMode.LIVE and slot.release in ready]
            report = EndpointReport(project=route.project, endpoint=route.endpoint, live=live, on_fallback=not live)
            endpoints.append(report)
        told = InstanceReport(
            instance=self.instance,
            index=self.index,
            boot_id=self.boot_id,
            generation=table.generation,
            releases=releases,
            endpoints=endpoints,
        )
        with self.town.database.transaction(EVERYTHING) as session:
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
            golden_at=self.golden_at or datetime.now(UTC),
        )


@dataclass
class Fleet:
    processes: list[Process]

    def report(self) -> None:
        for process in self.processes:
            process.report()


def make_town(database: Database, name: str = "flights", *, tier: int = 3) -> Town:
    ada, bob, cyd = (make_actor(database, f"{person}-{name}") for person in ("ada", "bob", "cyd"))
    project = make_project(database, ada, name, tier=tier)
    give_roles(database, ada, project, bob.name, MemberRole.APPROVER)
    give_roles(database, ada, project, cyd.name, MemberRole.DATA_SCIENTIST)
    return Town(database, project, ada, bob, cyd, GatesBySheet())


def make_fleet(town: Town, size: int = 2) -> Fleet:
    return Fleet([Process(town, "serving-1", index) for index in range(size)])


def race_promotions(town: Town, *, rounds: int) -> dict[str, int]:
    """Two people promote two versions at the same moment, again and again; gives how often each won.

    Asserts that of every two exactly one wins and that the other is told the winner's name.
    """
    v7, v8 = town.version(7), town.version(8)
    town.endpoint(fallback=FALLBACK)
    town.decide(v7)
    town.decide(v8)
    rivals = ((town.ada, v7), (town.cyd, v8))
    wins = {town.ada.name: 0, town.cyd.name: 0}
    barrier = threading.Barrier(2)

    def attempt(rival: tuple[Actor, str], revision: int) -> wire.RolloutView | Conflict:
        actor, digest = rival
        barrier.wait()
        try:
            started: wire.RolloutView = town.promote(digest, by=actor, expected_revision=revision).rollout
        except Conflict as conflict:
            return conflict
        return started

    def abort(session: Session) -> int:
        endpoint = store.find_endpoint(session, town.project.id, "arrivals", lock=True)
        rollout = store.open_rollout(session, endpoint)
        assert rollout is not None
        by = By(town.ada.id, town.ada.name)
        return acts.end_rollout(session, endpoint, rollout, state=RolloutState.ABORTED, by=by, reason="again").revision

    revision = town.look().revision
    with ThreadPoolExecutor(2) as pool:
        for _ in range(rounds):
            attempts = [pool.submit(attempt, rival, revision) for rival in rivals]
            answers = [attempt.result() for attempt in attempts]
            (won,) = [answer for answer in answers if isinstance(answer, wire.RolloutView)]
            (lost,) = [answer for answer in answers if isinstance(answer, Conflict)]
            assert lost.code in ("rollout_open", "revision_changed")
            assert lost.facts["winner"] == won.started_by
            assert won.started_by in lost.message
            wins[won.started_by] += 1
            before, revision = revision, town.do(town.ada, abort)
            assert revision > before
    return wins


def _manifest(project: str, model: str, number: int) -> ReleaseManifest:
    file = ArtifactFile(path="model.skops", digest=digest_bytes(f"{model} {number}".encode()), size=10)
    return ReleaseManifest(
        project=project,
        model=model,
        version=number,
        artifact_digest=digest_files([file]),
        files=[file],
        contract=ModelContract(task="regression", inputs=[]),
        golden=GoldenSet(digest=digest_bytes(b"golden"), rows=5, absolute_tolerance=1e-9),
        runtime=Runtime(
            kind="python",
            flavor="sklearn",
            serialization="skops",
            python_version="3.11.7",
            environment_digest=digest_bytes(b"environment"),
        ),
    )
