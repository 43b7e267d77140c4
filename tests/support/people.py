"""Actors and projects for tests, made through the real services."""

from uuid import UUID

from carrara.access import service
from carrara.access.domain import Actor, MemberRole, Project, UserKind
from carrara.kernel.ids import UserId
from carrara.persistence.database import Database, Scope

SETUP = Actor(UserId(UUID(int=0)), "setup", UserKind.SERVICE, is_platform_admin=True)


def make_actor(
    database: Database, name: str, kind: UserKind = UserKind.PERSON, *, is_platform_admin: bool = False
) -> Actor:
    """A user of that name."""
    with database.transaction(Scope()) as session:
        return service.create_user(session, SETUP, name, kind, is_platform_admin=is_platform_admin)


def make_project(database: Database, owner: Actor, name: str, *, tier: int = 3, allows_pickle: bool = False) -> Project:
    """A project in which `owner` has every role."""
    with database.transaction(Scope(actor_id=owner.id)) as session:
        project = service.create_project(session, owner, name, tier=tier, allows_pickle=allows_pickle)
    give_roles(database, owner, project, owner.name, *MemberRole)
    return project


def give_roles(database: Database, by: Actor, project: Project, user: str, *roles: MemberRole) -> None:
    """Gives `user` exactly these roles."""
    with database.transaction(Scope(project.id, by.id)) as session:
        service.set_roles(session, by, project, user_name=user, roles=roles, routes_changed=lambda _: None)


def make_token(database: Database, actor: Actor) -> str:
    """The secret of a new token of the actor's."""
    with database.transaction(Scope(actor_id=actor.id)) as session:
        _, token = service.issue_token(
            session, actor, user_name=actor.name, name="test", days=1, routes_changed=lambda _: None
        )
    return token.secret
