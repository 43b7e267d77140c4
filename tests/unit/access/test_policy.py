"""Role sets and tokens."""

import pytest

from carrara.access.domain import MemberRole
from carrara.access.policy import PLATFORM, POLICY, Permission, is_allowed
from carrara.access.tokens import hash_token, new_token

ALL = list(MemberRole)


@pytest.mark.parametrize(
    ("permission", "roles"),
    [
        (Permission.PROMOTE, {"data_scientist"}),
        (Permission.APPROVE, {"approver"}),
        (Permission.ROLL_BACK, {"data_scientist", "approver", "admin"}),
        (Permission.READ, {"viewer", "data_scientist", "approver", "admin"}),
        (Permission.SET_POLICY, {"admin"}),
        (Permission.PUSH_DATA, {"data_scientist"}),
    ],
)
def test_each_role_alone_may_do_exactly_what_the_design_says(permission: Permission, roles: set[str]) -> None:
    may = {role.value for role in ALL if is_allowed(permission, frozenset({role}), is_platform_admin=False)}
    assert may == roles


def test_every_permission_of_a_project_has_its_row() -> None:
    assert set(Permission) - PLATFORM - {Permission.SIGNED_IN} == set(POLICY)


def test_a_platform_admin_is_no_member() -> None:
    nobody: frozenset[MemberRole] = frozenset()
    assert is_allowed(Permission.MANAGE_PLATFORM, nobody, is_platform_admin=True)
    assert is_allowed(Permission.MANAGE_MEMBERS, nobody, is_platform_admin=True)
    assert not is_allowed(Permission.PROMOTE, nobody, is_platform_admin=True)
    assert not is_allowed(Permission.MANAGE_PLATFORM, frozenset(ALL), is_platform_admin=False)


def test_a_token_is_found_by_its_hash_and_does_not_show_itself() -> None:
    token = new_token()
    assert token.hash == hash_token(token.secret)
    assert token.secret.startswith(token.prefix + "_")
    assert token.secret not in repr(token)
    assert len(token.secret.split("_", 2)[2]) == 43
    assert new_token().secret != token.secret
