"""A project with evaluated versions, and serving processes that report through the real store."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session
from tests.support.fleet import Fleet, read_routes
from tests.support.people import give_roles, make_actor, make_project

import carrara.bootstrap.schema  # noqa: F401  # every table, so that foreign keys resolve
from carrara.access.domain import Actor, MemberRole, Project
from carrara.contracts import deployments as wire
from carrara.contracts.contract import ModelContract
from carrara.contracts.gates import GateReport, Outcome, Verdict
from carrara.contracts.release import ArtifactFile, GoldenSet, ReleaseManifest, Runtime, digest_files
from carrara.contracts.routes import (
    Fallback,
    RouteTable,
)
from carrara.deployments import (
    approving,
    promoting,
    reconciler,
    rolling_back,
    service,
    store,
)
from carrara.deployments.domain import Endpoint, VersionFacts
from carrara.deployments.ports import Neighbours
from carrara.kernel.digests import digest_bytes
from carrara.kernel.ids import ProjectId, ReleaseId, uuid7
from carrara.persistence.database import Database, Scope
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
        self,
        digest: str,
        decision: str = "approved",
        *,
        by: Actor | None = None,
        endpoint: str = "arrivals",
        **seen: str | None,
    ) -> wire.ApprovalView:
        actor = by or self.bob
        body = wire.DecideApproval.model_validate({"release": digest, "decision": decision, **seen})
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
        return read_routes(self.database)

    def reconcile(self) -> int:
        return reconciler.reconcile(self.database)

    def go_live(self, digest: str, fleet: Fleet, *, endpoint: str = "arrivals", **more: Any) -> wire.RolloutView:
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


def make_town(database: Database, name: str = "flights", *, tier: int = 3) -> Town:
    ada, bob, cyd = (make_actor(database, f"{person}-{name}") for person in ("ada", "bob", "cyd"))
    project = make_project(database, ada, name, tier=tier)
    give_roles(database, ada, project, bob.name, MemberRole.APPROVER)
    give_roles(database, ada, project, cyd.name, MemberRole.DATA_SCIENTIST)
    return Town(database, project, ada, bob, cyd, GatesBySheet())


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
