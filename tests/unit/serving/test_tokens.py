"""Who may predict where."""

import hashlib

import pytest

from carrara.contracts.routes import EndpointRoute
from carrara.kernel.errors import CarraraError, Forbidden, NotFound, Unauthenticated
from carrara.serving.tokens import token_table


def endpoint(project: str, name: str, *tokens: str) -> EndpointRoute:
    hashes = [hashlib.sha256(token.encode()).hexdigest() for token in tokens]
    return EndpointRoute(project=project, endpoint=name, slots=[], fallback=None, token_hashes=hashes)


TOKENS = token_table(
    [
        endpoint("a", "one", "alice", "anna"),
        endpoint("a", "two", "anna"),
        endpoint("b", "one", "bob"),
        endpoint("c", "x"),
    ]
)


@pytest.mark.parametrize("header", [b"Bearer alice", b"bearer alice", b"Bearer  alice ", b"Bearer anna"])
def test_a_listed_token_may_predict(header: bytes) -> None:
    TOKENS.check(header, ("a", "one"))


@pytest.mark.parametrize(
    ("header", "address", "kind"),
    [
        (None, ("a", "one"), Unauthenticated),
        (b"", ("a", "one"), Unauthenticated),
        (b"Basic alice", ("a", "one"), Unauthenticated),
        (b"Bearer", ("a", "one"), Unauthenticated),
        (b"Bearer ", ("a", "one"), Unauthenticated),
        (b"Bearer mallory", ("a", "one"), Unauthenticated),
        (b"Bearer mallory", ("no", "such"), Unauthenticated),
        (b"Bearer " + b"x" * 10_000, ("a", "one"), Unauthenticated),
        (b"Bearer \xff\xfe", ("a", "one"), Unauthenticated),
        (b"Bearer alice", ("a", "two"), Forbidden),
        (b"Bearer alice", ("a", "no-such"), NotFound),
        (b"Bearer bob", ("a", "one"), NotFound),
        (b"Bearer bob", ("no", "such"), NotFound),
        (b"Bearer alice", ("c", "x"), NotFound),
    ],
)
def test_others_may_not_and_learn_nothing_of_other_projects(
    header: bytes | None, address: tuple[str, str], kind: type[CarraraError]
) -> None:
    with pytest.raises(kind):
        TOKENS.check(header, address)
