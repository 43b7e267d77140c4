"""Training and evaluation: their job handlers, and the gates that deployments ask."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from carrara.contracts.gates import GateReport
from carrara.deployments import store as deployments
from carrara.deployments.domain import Endpoint, VersionFacts
from carrara.evaluation import service
from carrara.evaluation.handler import EvaluateHandler
from carrara.evaluation.ports import Standing
from carrara.jobs.limits import MostAllowed
from carrara.kernel.clock import Clock
from carrara.kernel.ids import ProjectId, ReleaseId
from carrara.persistence.database import Database
from carrara.storage.blobs import Blobs
from carrara.training.handler import TrainHandler


class KnownEndpoints:
    """Answers `evaluation.ports.Endpoints` from deployments."""

    def standing(self, session: Session, project_id: ProjectId, endpoint: str) -> Standing:
        found = deployments.find_endpoint(session, project_id, endpoint)
        return Standing(live=found.desired, policy_id=found.policy_id)


@dataclass(frozen=True)
class EvaluationGates:
    """Answers `deployments.ports.Gates` from evaluations."""

    clock: Clock

    def judge(
        self, session: Session, project_id: ProjectId, version: VersionFacts, endpoint: Endpoint, live: ReleaseId | None
    ) -> GateReport:
        return service.judge_gates(
            session,
            project_id,
            version.id,
            endpoint=endpoint.name,
            policy_id=endpoint.policy_id,
            live_release_id=live,
            now=self.clock.now(),
        )


@dataclass(frozen=True)
class EvaluationParts:
    """What other processes and features need of training and evaluation."""

    train: TrainHandler
    evaluate: EvaluateHandler
    endpoints: KnownEndpoints
    gates: EvaluationGates


def build_evaluation(
    database: Database, blobs: Blobs, clock: Clock, *, most: MostAllowed | None = None
) -> EvaluationParts:
    """Connects nothing. `most`: what a training may ask for."""
    endpoints = KnownEndpoints()
    return EvaluationParts(
        train=TrainHandler(database, blobs, most or MostAllowed()),
        evaluate=EvaluateHandler(database, blobs, endpoints, clock),
        endpoints=endpoints,
        gates=EvaluationGates(clock),
    )
