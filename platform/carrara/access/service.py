"""People, machines, projects and tokens: who may come in, and what they may do."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from carrara.access import store
from carrara.access.domain import Actor, MemberRole, Membership, Project, UserKind
from carrara.access.tables import ProjectRow, TokenRow, UserRow
from carrara.access.tokens import NewToken, hash_token, new_token
from carrara.audit.service import record
from carrara.kernel.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from carrara.kernel.ids import ProjectId, TokenId, UserId, uuid7
from carrara.kernel.names import check_slug
from carrara.persistence.database import Scope, enter_scope, savepoint

MAX_TOKEN_DAYS = 90

RoutesChanged = Callable[[Session], object]
"""Tells serving that tokens or members changed: `deployments.store.bump_generation`, bound by `bootstrap`."""


def authenticate(session: Session, secret: str) -> Actor:
    """Who holds this token; `Unauthenticated` if it is unknown, expired or revoked (the three look alike)."""
    actor = store.actor_of_token(session, hash_token(secret))
    if actor is None:
        raise Unauthenticated(
            "this token is unknown, expired or revoked; ask an admin for a new one (`carrara token create`)"
        )
    return actor


def membership(session: Session, actor: Actor, project_name: str) -> Membership:
    """The actor's roles in the project; `NotFound` also if it exists but the actor has no part in it (S09).

    Enters the project's scope in the caller's transaction.
    """
    project = store.project_by_name(session, project_name)
    if project is None:
        raise NotFound("project", name=project_name)
    enter_scope(session, Scope(project_id=project.id, actor_id=actor.id))
    roles = store.roles_of(session, project.id, actor.id)
    if not roles and not actor.is_platform_admin:
        raise NotFound("project", name=project_name)
    return Membership(project, roles)


def create_project(
    session: Session, actor: Actor, name: str, *, tier: int, description: str = "", allows_pickle: bool = False
) -> Project:
    """A new project, whose creator becomes its admin. `Conflict` if the name was ever used."""
    check_slug(name, "project")
    row = ProjectRow(
        id=uuid7(), name=name, tier=tier, description=description, settings={"allows_pickle": allows_pickle}
    )
    _insert(session, row, f"a project named {name!r} exists; names are never reused")
    project = store.to_project(row)
    enter_scope(session, Scope(project_id=project.id, actor_id=actor.id))
    store.replace_roles(session, project.id, actor.id, frozenset({MemberRole.ADMIN}))
    _note(session, "project.created", actor, ("project", row.id), project_id=project.id, name=name, tier=tier)
    return project


def create_user(session: Session, actor: Actor, name: str, kind: UserKind, *, is_platform_admin: bool = False) -> Actor:
    """A new person or service account. `Conflict` if the name is taken."""
    check_slug(name, "user")
    row = UserRow(id=uuid7(), name=name, kind=kind.value, is_platform_admin=is_platform_admin)
    _insert(session, row, f"a user named {name!r} exists")
    _note(session, "user.created", actor, ("user", row.id), name=name, kind=kind.value, admin=is_platform_admin)
    return store.to_actor(row)


def find_user(session: Session, name: str) -> Actor:
    row = store.user_by_name(session, name)
    if row is None:
        raise NotFound("user", name=name)
    return store.to_actor(row)


def set_roles(
    session: Session,
    actor: Actor,
    project: Project,
    *,
    user_name: str,
    roles: Iterable[MemberRole],
    routes_changed: RoutesChanged,
) -> frozenset[MemberRole]:
    """Gives the user exactly these roles in the project; none removes the user. An approver must be a person."""
    user = find_user(session, user_name)
    wanted = frozenset(roles)
    if user.kind is UserKind.SERVICE and MemberRole.APPROVER in wanted:
        raise Invalid(f"{user_name!r} is a service account; only people approve", code="service_cannot_approve")
    before = store.roles_of(session, project.id, user.id)
    store.replace_roles(session, project.id, user.id, wanted)
    _note(
        session,
        "project.roles_set",
        actor,
        ("user", user.id),
        project_id=project.id,
        before=sorted(before),
        after=sorted(wanted),
    )
    routes_changed(session)
    return wanted


def issue_token(
    session: Session, actor: Actor, *, user_name: str, name: str, days: int, routes_changed: RoutesChanged
) -> tuple[TokenId, NewToken]:
    """A token for the actor or, by a platform admin, for another. The secret is in the answer and nowhere else."""
    if not 1 <= days <= MAX_TOKEN_DAYS:
        raise Invalid(f"a token lives 1 to {MAX_TOKEN_DAYS} days, not {days}", code="bad_expiry")
    user = find_user(session, user_name)
    if user.id != actor.id and not actor.is_platform_admin:
        raise Forbidden("only a platform admin makes tokens for others")
    token = new_token()
    row = TokenRow(
        id=uuid7(),
        user_id=user.id,
        name=name,
        prefix=token.prefix,
        hash=token.hash,
        expires_at=func.now() + timedelta(days=days),
    )
    session.add(row)
    session.flush()
    _note(session, "token.issued", actor, ("token", row.id), user=str(user.id), prefix=token.prefix, days=days)
    routes_changed(session)
    return TokenId(row.id), token


def revoke_token(session: Session, actor: Actor, token_id: TokenId, *, routes_changed: RoutesChanged) -> None:
    """Ends a token of the actor's own or, as a platform admin, of anyone. Doing it twice is fine."""
    found = store.token_with_owner(session, token_id)
    if found is None or (found[1].id != actor.id and not actor.is_platform_admin):
        raise NotFound("token", id=str(token_id))
    token = found[0]
    if token.revoked_at is None:
        token.revoked_at = func.now()
        _note(session, "token.revoked", actor, ("token", token.id), prefix=token.prefix)
        routes_changed(session)


def make_first_admin(session: Session) -> NewToken | None:
    """On an empty database: the user `admin` with a token. None if anybody exists."""
    if store.any_user(session):
        return None
    us = Actor(UserId(UUID(int=0)), "carrara", UserKind.SERVICE, is_platform_admin=True)
    create_user(session, us, "admin", UserKind.PERSON, is_platform_admin=True)
    _, token = issue_token(
        session, us, user_name="admin", name="first start", days=MAX_TOKEN_DAYS, routes_changed=lambda _: None
    )
    return token


def _insert(session: Session, row: ProjectRow | UserRow, taken: str) -> None:
    try:
        with savepoint(session):
            session.add(row)
            session.flush()
    except IntegrityError as error:
        raise Conflict(taken, code="name_taken") from error


def _note(
    session: Session,
    action: str,
    actor: Actor,
    subject: tuple[str, UUID],
    *,
    project_id: ProjectId | None = None,
    **details: object,
) -> None:
    record(session, action, actor=(actor.id, actor.name), subject=subject, project_id=project_id, **details)
