"""Who acts, with which roles, where."""

from dataclasses import dataclass
from enum import StrEnum

from carrara.kernel.ids import ProjectId, UserId


class MemberRole(StrEnum):
    """Role sets: none implies another (D13)."""

    VIEWER = "viewer"
    DATA_SCIENTIST = "data_scientist"
    APPROVER = "approver"
    ADMIN = "admin"


class UserKind(StrEnum):
    PERSON = "person"
    SERVICE = "service"


@dataclass(frozen=True)
class Actor:
    """An authenticated person or machine; the name goes into audit records."""

    id: UserId
    name: str
    kind: UserKind
    is_platform_admin: bool = False


@dataclass(frozen=True)
class Project:
    """Owner of everything. `tier` 1 is the most critical, 4 a sandbox where authors may approve their own."""

    id: ProjectId
    name: str
    tier: int
    description: str = ""
    allows_pickle: bool = False


@dataclass(frozen=True)
class Membership:
    """What an actor may do in a project."""

    project: Project
    roles: frozenset[MemberRole]
