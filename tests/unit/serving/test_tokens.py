"""Who may predict where."""

import hashlib

import pytest

from carrara.contracts.routes import EndpointRoute, RouteTable
from carrara.kernel.errors import CarraraError, NotFound, Unauthenticated
from carrara.serving.tokens import token_table


def hashes(*tokens: str) -> list[str]:
    return [hashlib.sha256(token.encode()).hexdigest() for token in tokens]


TOKENS = token_table(
    RouteTable(
        generation=1,
        endpoints=[
            EndpointRoute(project=project, endpoint=name, slots=[], fallback=None)
            for project, name in [("a", "one"), ("a", "two"), ("b", "one"), ("c", "x")]
        ],
        releases={},
        token_hashes={"a": hashes("alice", "anna"), "b": [*hashes("bob", "anna"), "no hash"], "c": []},
    )
)


@pytest.mark.parametrize("header", [b"Bearer alice", b"bearer alice", b"Bearer  alice ", b"Bearer anna"])
def test_a_listed_token_may_predict(header: bytes) -> None:
    TOKENS.check(header, ("a", "one"))
    TOKENS.check(header, ("a", "two"))


def test_a_token_of_two_projects_may_predict_in_both() -> None:
    TOKENS.check(b"Bearer anna", ("a", "one"))
    TOKENS.check(b"Bearer anna", ("b", "one"))


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
        (b"Bearer no hash", ("b", "one"), Unauthenticated),
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
