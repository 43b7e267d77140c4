"""What evaluations ask of the endpoints, which they do not know; `deployments` answers, `bootstrap` joins."""

from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.orm import Session

from carrara.kernel.ids import PolicyId, ProjectId, ReleaseId


@dataclass(frozen=True)
class Standing:
    """What an endpoint answers with now (None: nothing, or its fallback), and the policy for what comes next."""

    live: ReleaseId | None
    policy_id: PolicyId | None


class Endpoints(Protocol):
    """The project's endpoints."""

    def standing(self, session: Session, project_id: ProjectId, endpoint: str) -> Standing:
        """`NotFound` if there is no such endpoint."""
        ...
