"""Who calls MLflow: a person or machine with a token, or a running job with its own."""

import base64
import binascii
from dataclasses import dataclass

from sqlalchemy.orm import Session

from carrara.access import service as access
from carrara.access import store as access_store
from carrara.access.domain import Project
from carrara.access.policy import Permission, is_allowed
from carrara.jobs import leases
from carrara.jobs.attempts import hash_token
from carrara.kernel.errors import Forbidden, NotFound, Unauthenticated
from carrara.kernel.ids import UserId
from carrara.mlflow_proxy.routes import Kind
from carrara.persistence.database import EVERYTHING, Database, Scope, enter_scope

_PERMISSIONS = {
    Kind.READ: Permission.READ,
    Kind.TRACK: Permission.REGISTER_VERSION,
    Kind.REGISTER: Permission.REGISTER_VERSION,
}
_OF_JOBS = frozenset({Kind.READ, Kind.TRACK})


@dataclass(frozen=True)
class Caller:
    """A caller who may do what was asked. For a job, `user_id` is who submitted it."""

    project: Project
    user_id: UserId


def secret_of(authorization: str | None) -> str:
    """The token in a Bearer or Basic header (there it is the password); `Unauthenticated` if there is none."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            user = password = ""
        if password or user:
            return password or user
    raise Unauthenticated("set MLFLOW_TRACKING_TOKEN to an API token; `carrara token create` makes one")


def identify(database: Database, secret: str, project_name: str, kind: Kind) -> Caller:
    """The caller; `Unauthenticated`, `NotFound` outside the caller's projects, `Forbidden` without the role."""
    with database.transaction(Scope()) as session:
        try:
            actor = access.authenticate(session, secret)
        except Unauthenticated:
            caller = _running_job(session, secret, project_name, kind)
            if caller is None:
                raise
            return caller
        member = access.membership(session, actor, project_name)
    permission = _PERMISSIONS[kind]
    if not is_allowed(permission, member.roles, is_platform_admin=actor.is_platform_admin):
        act = permission.value.replace("_", " ")
        raise Forbidden(f"no role of {actor.name!r} in project {project_name!r} allows to {act}")
    return Caller(member.project, actor.id)


def _running_job(session: Session, secret: str, project_name: str, kind: Kind) -> Caller | None:
    """A job tracks into its own project while its lease lasts; its version comes by its commit, not by this way."""
    enter_scope(session, EVERYTHING)
    principal = leases.principal(session, hash_token(secret))
    if principal is None:
        return None
    project = access_store.project_by_name(session, project_name)
    if project is None or project.id != principal.project_id:
        raise NotFound("project", name=project_name)
    if kind not in _OF_JOBS:
        raise Forbidden("a job's token may log runs and artifacts, not register models: its model becomes a version")
    return Caller(project, principal.submitted_by)
