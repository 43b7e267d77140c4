"""Who may predict where, by the hashes of the route table. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from carrara.contracts.routes import RouteTable
from carrara.inference.routing import Address
from carrara.kernel.errors import NotFound, Unauthenticated

_MAX_TOKEN_BYTES = 512
_SCHEME = b"bearer "


@dataclass(frozen=True)
class TokenTable:
    """The tokens that the platform knew when it wrote the route table, as SHA-256: a set may be searched by a hash of
    what was presented, for the time it takes says nothing of a token."""

    by_project: Mapping[str, frozenset[bytes]] = field(default_factory=dict)
    everywhere: frozenset[bytes] = frozenset()
    endpoints: frozenset[Address] = frozenset()

    def check(self, authorization: bytes | None, address: Address) -> None:
        """Returns if this `Authorization` header may predict there.

        `Unauthenticated` for no token or an unknown one; `NotFound` for an endpoint that is not there, and for a token
        of another project: it does not learn whether the endpoint exists.
        """
        presented = _digest_of(authorization)
        project, endpoint = address
        if presented not in self.everywhere:
            raise Unauthenticated("this token is not valid: unknown, expired or revoked", code="bad_token")
        if presented not in self.by_project.get(project, frozenset()) or address not in self.endpoints:
            raise NotFound("endpoint", project=project, endpoint=endpoint)


def token_table(table: RouteTable) -> TokenTable:
    """The tokens of this route table. A hash that is none is left out: nobody can present it."""
    by_project = {
        project: frozenset(found for text in hashes if (found := _unhex(text)) is not None)
        for project, hashes in table.token_hashes.items()
    }
    endpoints = frozenset((route.project, route.endpoint) for route in table.endpoints)
    return TokenTable(by_project, frozenset().union(*by_project.values()), endpoints)


def _digest_of(authorization: bytes | None) -> bytes:
    if authorization is None:
        raise Unauthenticated("send a token: Authorization: Bearer <token>", code="no_token")
    if authorization[: len(_SCHEME)].lower() != _SCHEME or len(authorization) > _MAX_TOKEN_BYTES:
        raise Unauthenticated("expected Authorization: Bearer <token>", code="bad_token")
    return hashlib.sha256(authorization[len(_SCHEME) :].strip()).digest()


def _unhex(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None
