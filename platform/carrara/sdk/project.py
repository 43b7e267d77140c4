"""One project: a client for each feature, all over the same transport."""

from collections.abc import Iterable
from functools import cached_property

from carrara.contracts.access import MemberView, ProjectView, RoleName, SetRoles
from carrara.sdk.audit import Audit
from carrara.sdk.connection import Connection
from carrara.sdk.datasets import Datasets
from carrara.sdk.endpoints import Endpoints
from carrara.sdk.evaluations import Evaluations
from carrara.sdk.jobs import Jobs
from carrara.sdk.models import Models
from carrara.sdk.predictions import Predictions
from carrara.sdk.training import Training
from carrara.sdk.transport import Transport


class ProjectClient:
    """Everything that belongs to one project."""

    def __init__(self, transport: Transport, name: str, connection: Connection) -> None:
        self.name = name
        self._transport = transport
        self._connection = connection
        self._path = f"/api/v1/projects/{name}"

    @cached_property
    def datasets(self) -> Datasets:
        return Datasets(self._transport, self._path)

    @cached_property
    def jobs(self) -> Jobs:
        return Jobs(self._transport, self._path)

    @cached_property
    def training(self) -> Training:
        return Training(self._transport, self._path, self.jobs)

    @cached_property
    def models(self) -> Models:
        return Models(self._transport, self._path)

    @cached_property
    def evaluations(self) -> Evaluations:
        return Evaluations(self._transport, self._path)

    @cached_property
    def endpoints(self) -> Endpoints:
        return Endpoints(self._transport, self._path)

    @cached_property
    def predictions(self) -> Predictions:
        """Asks the serving port, not the platform: it answers also when the platform is away."""
        return Predictions(self._connection, self.name)

    @cached_property
    def audit(self) -> Audit:
        return Audit(self._transport, self._path)

    def view(self) -> ProjectView:
        return self._transport.get(self._path, ProjectView)

    def members(self) -> list[MemberView]:
        return self._transport.get(f"{self._path}/members", list[MemberView])

    def set_roles(self, user: str, roles: Iterable[RoleName]) -> MemberView:
        """Gives `user` exactly these roles; none takes the user out."""
        body = SetRoles(roles=list(roles))
        return self._transport.write("PUT", f"{self._path}/members/{user}", MemberView, body=body)
