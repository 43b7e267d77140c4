"""One request: who calls, in which project, and the one transaction that it gets."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Annotated, TypeVar, cast

from fastapi import Depends, Path, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from carrara.access import service as access
from carrara.access.domain import Actor, MemberRole, Membership, Project
from carrara.access.policy import PLATFORM, WITHOUT_PROJECT, Permission, is_allowed
from carrara.bootstrap.platform import Services
from carrara.kernel.digests import digest_bytes
from carrara.kernel.errors import Forbidden, Invalid, TooLarge, Unauthenticated
from carrara.persistence.database import Scope
from carrara.persistence.idempotency import earlier_answer, remember

T = TypeVar("T")
MAX_KEY_LENGTH = 200

MAX_BODY_BYTES = 16 << 20
BODY_SECONDS = 30

_bearer = HTTPBearer(auto_error=False, description="an API token: `carrara token create`")
ProjectName = Annotated[str, Path(description="the project's name", examples=["flights"])]
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


@dataclass(frozen=True)
class Call:
    """What a route knows of its caller. Exactly one of `read` and `write` is called, once."""

    services: Services
    actor: Actor
    membership: Membership | None
    idempotency_key: str | None
    fingerprint: str

    @property
    def project(self) -> Project:
        """The project in the path; only routes below `/projects/{project}` ask for it."""
        if self.membership is None:
            raise RuntimeError("this route has no project in its path")
        return self.membership.project

    @property
    def roles(self) -> frozenset[MemberRole]:
        return self.membership.roles if self.membership else frozenset()

    @property
    def scope(self) -> Scope:
        return Scope(self.membership.project.id if self.membership else None, self.actor.id)

    def read(self, action: Callable[[Session], T]) -> T:
        """What `action` gives, in a transaction of its own."""
        with self.services.database.transaction(self.scope) as session:
            return action(session)

    def write(self, status: int, action: Callable[[Session], T], *, fingerprint: str | None = None) -> T:
        """Does `action` in one transaction, committed before the answer leaves, at most once for an Idempotency-Key.

        `fingerprint` names the request where its body was streamed and so is not in `self.fingerprint`.
        Typed as the body, so that OpenAPI shows it; what comes back is the response with `status`.
        """
        fingerprint = fingerprint or self.fingerprint
        with self.services.database.transaction(self.scope) as session:
            if self.idempotency_key is not None:
                given = earlier_answer(session, self.actor.id, self.idempotency_key, fingerprint)
                if given is not None:
                    replayed = {"Idempotency-Replayed": "true"}
                    return cast(T, Response(given[1], given[0], headers=replayed, media_type="application/json"))
            response = JSONResponse(jsonable_encoder(action(session)), status)
            if self.idempotency_key is not None:
                answer = (status, bytes(response.body).decode())
                remember(session, self.actor.id, self.idempotency_key, fingerprint, answer)
        return cast(T, response)


def services_of(request: Request) -> Services:
    """The composition that this app was made with."""
    return cast("Services", request.app.state.services)


def allowed(permission: Permission, *, streams_body: bool = False) -> Callable[..., Awaitable[Call]]:
    """The dependency of a route: 401 without a valid token, 404 outside the caller's projects, 403 without the role.

    `streams_body`: the route reads the body itself, so it is not part of the request's fingerprint.
    """

    async def identify(request: Request, credentials: Credentials) -> Call:
        call = await run_in_threadpool(_identify, request, credentials, permission)
        body = b"" if streams_body else await _small_body(request)
        return replace(call, fingerprint=_fingerprint(request, body))

    async def identify_in_project(request: Request, credentials: Credentials, project: ProjectName) -> Call:  # noqa: ARG001  # declared for OpenAPI; `_identify` reads it from the path
        return await identify(request, credentials)

    chosen = identify if permission in WITHOUT_PROJECT else identify_in_project
    chosen.__dict__["permission"] = permission
    return chosen


async def _small_body(request: Request) -> bytes:
    """The body, read no further and no longer than the limits; FastAPI then parses these very bytes."""
    read = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for block in request.stream():
                read += block
                if len(read) > MAX_BODY_BYTES:
                    limit = MAX_BODY_BYTES
                    raise TooLarge(f"the body is over {limit} bytes; push data as a dataset", limit=limit)
    except TimeoutError as error:
        raise Invalid(f"the body did not arrive within {BODY_SECONDS} s", code="slow_body") from error
    request._body = bytes(read)  # where Starlette's own `body()` keeps it
    return request._body


def _fingerprint(request: Request, body: bytes) -> str:
    head = json.dumps([request.method, request.url.path, request.url.query]).encode()
    return digest_bytes(head + b"\0" + body)


def _identify(request: Request, credentials: HTTPAuthorizationCredentials | None, permission: Permission) -> Call:
    services = services_of(request)
    if credentials is None:
        raise Unauthenticated("send `Authorization: Bearer <token>`; `carrara token create` makes one")
    project = request.path_params.get("project")
    with services.database.transaction(Scope()) as session:
        actor = access.authenticate(session, credentials.credentials)
        member = access.membership(session, actor, project) if project is not None else None
    roles = member.roles if member else frozenset()
    if not is_allowed(permission, roles, is_platform_admin=actor.is_platform_admin):
        raise Forbidden(_missing(permission, actor, project), permission=permission.value)
    return Call(services, actor, member, _key(request), fingerprint="")


def _missing(permission: Permission, actor: Actor, project: str | None) -> str:
    act = permission.value.replace("_", " ")
    if permission in PLATFORM:
        return f"{actor.name!r} is not a platform admin, so may not {act}"
    return f"no role of {actor.name!r} in project {project!r} allows to {act}; an admin of the project can give one"


def _key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= MAX_KEY_LENGTH:
        raise Invalid(f"Idempotency-Key: expected 1 to {MAX_KEY_LENGTH} characters, got {len(key)}", code="bad_key")
    return key
