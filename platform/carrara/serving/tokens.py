"""Who may predict where, by the hashes of the route table. Pure."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from carrara.contracts.routes import EndpointRoute
from carrara.inference.routing import Address
from carrara.kernel.errors import Forbidden, NotFound, Unauthenticated

_MAX_TOKEN_BYTES = 512
_SCHEME = b"bearer "


@dataclass(frozen=True)
class TokenTable:
    """The tokens that the platform knew when it wrote the route table."""

    by_endpoint: Mapping[Address, tuple[bytes, ...]] = field(default_factory=dict)
    by_project: Mapping[str, frozenset[bytes]] = field(default_factory=dict)

    def check(self, authorization: bytes | None, address: Address) -> None:
        """Returns if this `Authorization` header may predict there.

        `Unauthenticated` for no token or an unknown one; `Forbidden` for one of the same project; `NotFound` for one
        of another project: it does not learn whether the endpoint exists.
        """
        presented = _digest_of(authorization)
        may = False
        for known in self.by_endpoint.get(address, ()):
            may |= hmac.compare_digest(known, presented)
        if may:
            return
        project, endpoint = address
        if presented in self.by_project.get(project, frozenset()):
            if address in self.by_endpoint:
                raise Forbidden(f"this token may not predict at {project}/{endpoint}; ask an admin of the project")
            raise NotFound("endpoint", project=project, endpoint=endpoint)
        if any(presented in known for known in self.by_project.values()):
            raise NotFound("endpoint", project=project, endpoint=endpoint)
        raise Unauthenticated("this token is not valid: unknown, expired or revoked", code="bad_token")


def token_table(routes: Iterable[EndpointRoute]) -> TokenTable:
    """The tokens of these routes. A hash that is none is left out: nobody can present it."""
    by_endpoint: dict[Address, tuple[bytes, ...]] = {}
    by_project: dict[str, frozenset[bytes]] = {}
    for route in routes:
        hashes = tuple(found for text in route.token_hashes if (found := _unhex(text)) is not None)
        by_endpoint[route.project, route.endpoint] = hashes
        by_project[route.project] = by_project.get(route.project, frozenset()) | frozenset(hashes)
    return TokenTable(by_endpoint, by_project)


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
