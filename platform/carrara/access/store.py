"""SQL of projects, users, tokens and memberships."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Row as ResultRow
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from carrara.access.domain import Actor, MemberRole, Project, UserKind
from carrara.access.tables import MembershipRow, ProjectRow, TokenRow, UserRow
from carrara.kernel.ids import ProjectId, TokenId, UserId

_LAST_USED_STEP = timedelta(minutes=1)


def actor_of_token(session: Session, token_hash: str) -> Actor | None:
    """Whose valid token this is. Notes its use, at most once a minute."""
    row = session.execute(
        select(UserRow, TokenRow.id, TokenRow.last_used_at, func.now())
        .join(TokenRow, TokenRow.user_id == UserRow.id)
        .where(
            TokenRow.hash == token_hash,
            TokenRow.revoked_at.is_(None),
            TokenRow.expires_at > func.now(),
            UserRow.disabled_at.is_(None),
        )
    ).one_or_none()
    if row is None:
        return None
    user, token_id, last_used_at, now = row
    if last_used_at is None or now - last_used_at > _LAST_USED_STEP:
        session.execute(update(TokenRow).where(TokenRow.id == token_id).values(last_used_at=func.now()))
    return to_actor(user)


def to_actor(row: UserRow) -> Actor:
    return Actor(UserId(row.id), row.name, UserKind(row.kind), row.is_platform_admin)


def user_by_name(session: Session, name: str) -> UserRow | None:
    return session.scalars(select(UserRow).where(UserRow.name == name)).one_or_none()


def any_user(session: Session) -> bool:
    return session.scalar(select(UserRow.id).limit(1)) is not None


def user_names(session: Session, ids: Iterable[UUID]) -> dict[UUID, str]:
    """The names behind these ids, for showing."""
    rows = session.execute(select(UserRow.id, UserRow.name).where(UserRow.id.in_(set(ids))))
    return {row.id: row.name for row in rows}


def to_project(row: ProjectRow) -> Project:
    return Project(
        id=ProjectId(row.id),
        name=row.name,
        tier=row.tier,
        description=row.description,
        allows_pickle=bool(row.settings.get("allows_pickle", False)),
    )


def project_by_name(session: Session, name: str) -> Project | None:
    row = session.scalars(select(ProjectRow).where(ProjectRow.name == name)).one_or_none()
    return to_project(row) if row else None


def projects_of(session: Session, user_id: UserId) -> Sequence[Project]:
    """The projects of which this user, who must be the scope's actor, is a member."""
    ids = select(MembershipRow.project_id).where(MembershipRow.user_id == user_id)
    rows = session.scalars(select(ProjectRow).where(ProjectRow.id.in_(ids)).order_by(ProjectRow.name))
    return [to_project(row) for row in rows]


def all_projects(session: Session) -> Sequence[Project]:
    return [to_project(row) for row in session.scalars(select(ProjectRow).order_by(ProjectRow.name))]


def roles_of(session: Session, project_id: ProjectId, user_id: UserId) -> frozenset[MemberRole]:
    rows = session.scalars(
        select(MembershipRow.role).where(MembershipRow.project_id == project_id, MembershipRow.user_id == user_id)
    )
    return frozenset(MemberRole(role) for role in rows)


def replace_roles(session: Session, project_id: ProjectId, user_id: UserId, roles: frozenset[MemberRole]) -> None:
    session.execute(
        delete(MembershipRow).where(MembershipRow.project_id == project_id, MembershipRow.user_id == user_id)
    )
    session.add_all(MembershipRow(project_id=project_id, user_id=user_id, role=role.value) for role in sorted(roles))
    session.flush()


def members(session: Session, project_id: ProjectId) -> dict[str, set[MemberRole]]:
    """Role sets by user name."""
    found: dict[str, set[MemberRole]] = {}
    rows = session.execute(
        select(UserRow.name, MembershipRow.role)
        .join(MembershipRow, MembershipRow.user_id == UserRow.id)
        .where(MembershipRow.project_id == project_id)
        .order_by(UserRow.name)
    )
    for name, role in rows:
        found.setdefault(name, set()).add(MemberRole(role))
    return found


def tokens_of(session: Session, user_id: UserId) -> Sequence[TokenRow]:
    return session.scalars(select(TokenRow).where(TokenRow.user_id == user_id).order_by(TokenRow.id)).all()


def token_with_owner(session: Session, token_id: TokenId) -> ResultRow[TokenRow, UserRow] | None:
    return session.execute(
        select(TokenRow, UserRow).join(UserRow, UserRow.id == TokenRow.user_id).where(TokenRow.id == token_id)
    ).one_or_none()
