"""What deployments ask of features that they do not know; `bootstrap` joins them."""

from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.orm import Session

from carrara.contracts.gates import GateReport
from carrara.deployments.domain import Endpoint, VersionFacts
from carrara.kernel.ids import ProjectId, ReleaseId


class Gates(Protocol):
    """Judges a version for an endpoint: by the endpoint's policy, against what is live there."""

    def judge(
        self, session: Session, project_id: ProjectId, version: VersionFacts, endpoint: Endpoint, live: ReleaseId | None
    ) -> GateReport:
        """The newest evaluation judged by `endpoint.policy_id`, or by the task's default policy if that is None."""
        ...


@dataclass(frozen=True)
class Neighbours:
    """Whom a promotion asks, and how long a rollout may wait for evidence in each of its two halves."""

    gates: Gates
    rollout_deadline_seconds: float
