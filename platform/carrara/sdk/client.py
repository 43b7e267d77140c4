"""`Carrara.connect()`: the platform from Python. Every method is one or more calls of the public API."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal, Self
from uuid import UUID

from carrara.contracts.access import (
    CreateProject,
    CreateUser,
    IssuedToken,
    IssueToken,
    ProjectView,
    TokenView,
    UserView,
)
from carrara.contracts.audit import AuditHead, VerifyView
from carrara.sdk import audit
from carrara.sdk.connection import Connection, find_connection
from carrara.sdk.project import ProjectClient
from carrara.sdk.transport import Transport


class Carrara:
    """One platform, as one caller. Errors are the kinds of `carrara.kernel.errors`. Close it, or use it with `with`."""

    def __init__(self, connection: Connection, *, timeout_seconds: float = 60.0) -> None:
        self.connection = connection
        self.transport = Transport(connection.url, connection.token, timeout_seconds=timeout_seconds)

    @classmethod
    def connect(cls, url: str | None = None, token: str | None = None) -> Self:
        """The platform that the arguments, the environment, the nearest `.carrara` or the last login name."""
        return cls(find_connection(url=url, token=token))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.transport.close()

    def whoami(self) -> UserView:
        return self.transport.get("/api/v1/whoami", UserView)

    def projects(self) -> list[ProjectView]:
        return self.transport.get("/api/v1/projects", list[ProjectView])

    def create_project(
        self, name: str, *, tier: int = 3, description: str = "", allows_pickle: bool = False
    ) -> ProjectView:
        body = CreateProject(name=name, tier=tier, description=description, allows_pickle=allows_pickle)
        return self.transport.write("POST", "/api/v1/projects", ProjectView, body=body)

    def project(self, name: str) -> ProjectClient:
        """The project of that name. Nothing is asked of the platform yet."""
        return ProjectClient(self.transport, name, self.connection)

    def create_user(
        self, name: str, *, kind: Literal["person", "service"] = "person", is_platform_admin: bool = False
    ) -> UserView:
        body = CreateUser(name=name, kind=kind, is_platform_admin=is_platform_admin)
        return self.transport.write("POST", "/api/v1/users", UserView, body=body)

    def issue_token(self, name: str, *, user: str | None = None, days: int = 90) -> IssuedToken:
        """A token for `user`, or for the caller. Its secret is never shown again, so this call is never repeated."""
        body = IssueToken(name=name, user=user, days=days)
        content = body.model_dump_json().encode()
        headers = {"Content-Type": "application/json"}
        response = self.transport.send("POST", "/api/v1/tokens", content=content, headers=headers)
        return IssuedToken.model_validate_json(response.content)

    def tokens(self) -> Sequence[TokenView]:
        return self.transport.get("/api/v1/tokens", list[TokenView])

    def verify_audit(self, heads: Sequence[AuditHead] = ()) -> VerifyView:
        """The whole audit chain computed anew; `heads` that were kept elsewhere prove that nothing was cut off."""
        return audit.verify(self.transport, heads)

    def audit_head(self) -> AuditHead:
        return audit.head(self.transport)

    def revoke_token(self, token_id: UUID) -> None:
        self.transport.write("DELETE", f"/api/v1/tokens/{token_id}", dict[str, Any])
