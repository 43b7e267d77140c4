"""The one policy table: which roles may do what. `docs/reference/roles.md` is rendered from it."""

from collections.abc import Mapping
from enum import StrEnum

from carrara.access.domain import MemberRole

_VIEWER, _SCIENTIST = MemberRole.VIEWER, MemberRole.DATA_SCIENTIST
_APPROVER, _ADMIN = MemberRole.APPROVER, MemberRole.ADMIN
_ANY_MEMBER = frozenset(MemberRole)


class Permission(StrEnum):
    """What a route asks for. Those of `PLATFORM` need a platform admin; the others a role in the project."""

    READ = "read"
    PUSH_DATA = "push_data"
    SUBMIT_JOB = "submit_job"
    REGISTER_VERSION = "register_version"
    RETIRE_VERSION = "retire_version"
    MANAGE_ENDPOINT = "manage_endpoint"
    SET_FALLBACK = "set_fallback"
    SET_POLICY = "set_policy"
    APPROVE = "approve"
    REVOKE_APPROVAL = "revoke_approval"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    PREDICT = "predict"
    MANAGE_MEMBERS = "manage_members"
    MANAGE_PLATFORM = "manage_platform"
    SIGNED_IN = "signed_in"


PLATFORM = frozenset({Permission.MANAGE_PLATFORM})
WITHOUT_PROJECT = PLATFORM | {Permission.SIGNED_IN}

POLICY: Mapping[Permission, frozenset[MemberRole]] = {
    Permission.READ: _ANY_MEMBER,
    Permission.PUSH_DATA: frozenset({_SCIENTIST}),
    Permission.SUBMIT_JOB: frozenset({_SCIENTIST}),
    Permission.REGISTER_VERSION: frozenset({_SCIENTIST}),
    Permission.RETIRE_VERSION: frozenset({_SCIENTIST, _ADMIN}),
    Permission.MANAGE_ENDPOINT: frozenset({_SCIENTIST, _ADMIN}),
    Permission.SET_FALLBACK: frozenset({_SCIENTIST, _APPROVER, _ADMIN}),
    Permission.SET_POLICY: frozenset({_ADMIN}),
    Permission.APPROVE: frozenset({_APPROVER}),
    Permission.REVOKE_APPROVAL: frozenset({_APPROVER, _ADMIN}),
    Permission.PROMOTE: frozenset({_SCIENTIST}),
    Permission.ROLL_BACK: frozenset({_SCIENTIST, _APPROVER, _ADMIN}),
    Permission.PREDICT: _ANY_MEMBER,
    Permission.MANAGE_MEMBERS: frozenset({_ADMIN}),
}


def is_allowed(permission: Permission, roles: frozenset[MemberRole], *, is_platform_admin: bool) -> bool:
    """Whether someone with these roles may. A platform admin manages people everywhere, and nothing else unasked."""
    if permission is Permission.SIGNED_IN:
        return True
    if permission in PLATFORM:
        return is_platform_admin
    if permission is Permission.MANAGE_MEMBERS and is_platform_admin:
        return True
    return bool(POLICY[permission] & roles)
