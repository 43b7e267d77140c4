"""Projects, people, roles and tokens."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends
from sqlalchemy.orm import Session

from carrara.access import service, store
from carrara.access.domain import Actor, MemberRole, Project, UserKind
from carrara.access.policy import Permission
from carrara.api.call import Call, allowed
from carrara.contracts import access as wire
from carrara.kernel.errors import Invalid, Issue
from carrara.kernel.ids import TokenId
from carrara.persistence.database import EVERYTHING, Scope, enter_scope

router = APIRouter(tags=["access"])

SignedIn = Annotated[Call, Depends(allowed(Permission.SIGNED_IN))]
PlatformAdmin = Annotated[Call, Depends(allowed(Permission.MANAGE_PLATFORM))]
Member = Annotated[Call, Depends(allowed(Permission.READ))]
MemberManager = Annotated[Call, Depends(allowed(Permission.MANAGE_MEMBERS))]


@router.get("/whoami")
def whoami(call: SignedIn) -> wire.UserView:
    """Whose token this is."""
    return _user(call.actor)


@router.get("/projects")
def list_projects(call: SignedIn) -> list[wire.ProjectView]:
    """The caller's projects; for a platform admin, all of them."""

    def action(session: Session) -> list[wire.ProjectView]:
        if call.actor.is_platform_admin:
            enter_scope(session, EVERYTHING)
            projects = store.all_projects(session)
        else:
            projects = store.projects_of(session, call.actor.id)
        return [_project(project, store.roles_of(session, project.id, call.actor.id)) for project in projects]

    return call.read(action)


@router.post("/projects", status_code=201)
def create_project(call: PlatformAdmin, body: wire.CreateProject) -> wire.ProjectView:
    """Makes a project; the caller becomes its admin."""

    def action(session: Session) -> wire.ProjectView:
        project = service.create_project(
            session,
            call.actor,
            body.name,
            tier=body.tier,
            description=body.description,
            allows_pickle=body.allows_pickle,
        )
        return _project(project, frozenset({MemberRole.ADMIN}))

    return call.write(201, action)


@router.get("/projects/{project}")
def get_project(call: Member) -> wire.ProjectView:
    """One project, and the caller's roles in it."""
    return _project(call.project, call.roles)


@router.get("/projects/{project}/members")
def list_members(call: Member) -> list[wire.MemberView]:
    """Everyone with a role in the project."""
    found = call.read(lambda session: store.members(session, call.project.id))
    return [wire.MemberView(user=name, roles=_names(roles)) for name, roles in found.items()]


@router.put("/projects/{project}/members/{user}")
def set_roles(call: MemberManager, user: str, body: wire.SetRoles) -> wire.MemberView:
    """Gives a user exactly these roles."""

    def action(session: Session) -> wire.MemberView:
        roles = service.set_roles(
            session,
            call.actor,
            call.project,
            user_name=user,
            roles=[MemberRole(role) for role in body.roles],
            routes_changed=call.services.routes_changed,
        )
        return wire.MemberView(user=user, roles=_names(roles))

    return call.write(200, action)


@router.post("/users", status_code=201)
def create_user(call: PlatformAdmin, body: wire.CreateUser) -> wire.UserView:
    """Makes a person or a service account."""

    def action(session: Session) -> wire.UserView:
        kind = UserKind(body.kind)
        made = service.create_user(session, call.actor, body.name, kind, is_platform_admin=body.is_platform_admin)
        return _user(made)

    return call.write(201, action)


@router.get("/tokens")
def list_tokens(call: SignedIn) -> list[wire.TokenView]:
    """The caller's own tokens, without their secrets."""
    rows = call.read(lambda session: store.tokens_of(session, call.actor.id))
    return [wire.TokenView.model_validate(row, from_attributes=True) for row in rows]


@router.post("/tokens", status_code=201)
def issue_token(call: SignedIn, body: wire.IssueToken) -> wire.IssuedToken:
    """Makes a token. The secret is in this answer only and is kept nowhere, so an Idempotency-Key is refused."""
    if call.idempotency_key is not None:
        raise Invalid(
            "Idempotency-Key: the secret is in the first answer only and is kept nowhere, so it cannot be given again;"
            " send the request without the key, and revoke the token if its answer was lost",
            code="key_not_taken",
            issues=[Issue("header.idempotency-key", "is not taken here", code="key_not_taken")],
        )
    with call.services.database.transaction(Scope(actor_id=call.actor.id)) as session:
        token_id, token = service.issue_token(
            session,
            call.actor,
            user_name=body.user or call.actor.name,
            name=body.name,
            days=body.days,
            routes_changed=call.services.routes_changed,
        )
    return wire.IssuedToken(id=token_id, secret=token.secret, expires_in_days=body.days)


@router.delete("/tokens/{token_id}")
def revoke_token(call: SignedIn, token_id: UUID) -> dict[str, Any]:
    """Ends a token at once; serving processes learn of it within seconds."""

    def action(session: Session) -> dict[str, Any]:
        changed = call.services.routes_changed
        service.revoke_token(session, call.actor, TokenId(token_id), routes_changed=changed)
        return {"id": token_id, "revoked": True}

    return call.write(200, action)


def _user(actor: Actor) -> wire.UserView:
    return wire.UserView(id=actor.id, name=actor.name, kind=actor.kind.value, is_platform_admin=actor.is_platform_admin)


def _project(project: Project, roles: frozenset[MemberRole]) -> wire.ProjectView:
    return wire.ProjectView(
        id=project.id,
        name=project.name,
        tier=project.tier,
        description=project.description,
        allows_pickle=project.allows_pickle,
        roles=_names(roles),
    )


def _names(roles: frozenset[MemberRole] | set[MemberRole]) -> list[wire.RoleName]:
    return [role.value for role in sorted(roles)]
