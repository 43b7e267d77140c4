"""Projects, people, roles and tokens on the wire."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from carrara.contracts.wire import Answer, Wire

RoleName = Literal["viewer", "data_scientist", "approver", "admin"]


class CreateProject(Wire):
    """`tier` 1 is the most critical; in tier 4, a sandbox, authors may approve their own versions."""

    name: str = Field(examples=["flights"])
    tier: int = Field(3, ge=1, le=4)
    description: str = Field("", max_length=2000)
    allows_pickle: bool = Field(False, description="accept models saved with pickle; they only ever load confined")


class ProjectView(Answer):
    """A project and what the caller may do in it."""

    id: UUID
    name: str
    tier: int
    description: str
    allows_pickle: bool
    roles: list[RoleName]


class CreateUser(Wire):
    """A person, or a service account for a machine."""

    name: str = Field(examples=["ada"])
    kind: Literal["person", "service"] = "person"
    is_platform_admin: bool = False


class UserView(Answer):
    id: UUID
    name: str
    kind: Literal["person", "service"]
    is_platform_admin: bool


class SetRoles(Wire):
    """Exactly these roles; an empty list takes the user out of the project."""

    roles: list[RoleName] = Field(examples=[["data_scientist"]])


class MemberView(Answer):
    user: str
    roles: list[RoleName]


class IssueToken(Wire):
    """A token for `user`, or for the caller if none is named."""

    name: str = Field(min_length=1, max_length=100, examples=["laptop"])
    user: str | None = None
    days: int = Field(90, ge=1, le=90)


class TokenView(Answer):
    """A token as it is known afterwards: never its secret."""

    id: UUID
    name: str
    prefix: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class IssuedToken(Answer):
    """The only answer that ever holds the secret."""

    id: UUID
    secret: str
    expires_in_days: int
