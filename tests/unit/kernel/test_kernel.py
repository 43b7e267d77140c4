"""Names, ids, digests and state machines: the words that everything else is written in."""

import io
from enum import StrEnum

import pytest

from carrara.kernel.config import Settings
from carrara.kernel.digests import canonical_json, digest_bytes, digest_json, digest_stream
from carrara.kernel.errors import Conflict, Invalid, NotFound
from carrara.kernel.ids import uuid7
from carrara.kernel.names import check_slug
from carrara.kernel.state_machine import StateMachine

HOSTILE_NAMES = [
    "",
    "../../x",
    "a/b",
    "a" * 64,
    "x" * 300,
    "🤖",
    "\u202eevil",
    "%2e%2e",
    "a;b",
    "a#b",
    "a\x00b",
    "<script>",
    "=cmd()",
    "-a",
    "a-",
    "A",
    "a_b",
    "a b",
    "a\n",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_fault_f48_hostile_names_are_refused_at_entry(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_slug(name, "model")
    assert refused.value.code == "bad_name"
    assert refused.value.issues[0].where == "model"
    assert len(refused.value.message) < 300


@pytest.mark.parametrize("name", ["a", "7", "flights", "late-arrivals", "a" * 63, "a--b"])
def test_slugs_are_accepted(name: str) -> None:
    assert check_slug(name, "model") == name


def test_uuid7_sorts_by_the_millisecond_it_was_made_in() -> None:
    made = [uuid7() for _ in range(2000)]
    milliseconds = [value.int >> 80 for value in made]
    assert milliseconds == sorted(milliseconds)
    assert {value.version for value in made} == {7}
    assert {value.variant for value in made} == {"specified in RFC 4122"}
    assert len(set(made)) == 2000


def test_digest_of_known_bytes_is_the_published_one() -> None:
    # FIPS 180-2, appendix B.1: SHA-256 of "abc"
    known = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_bytes(b"abc") == known
    assert digest_stream(io.BytesIO(b"abc")) == (known, 3)


def test_canonical_json_is_one_form_for_one_value() -> None:
    assert canonical_json({"b": 1, "a": [1.5, None, "é"]}) == '{"a":[1.5,null,"é"],"b":1}'.encode()
    assert digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1})
    assert digest_json({"a": 1}) != digest_json({"a": 1.5})
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})


class Light(StrEnum):
    RED = "red"
    GREEN = "green"
    BROKEN = "broken"


LIGHTS = StateMachine("light", {Light.RED: frozenset({Light.GREEN, Light.BROKEN}), Light.GREEN: frozenset({Light.RED})})


def test_state_machine_says_where_one_could_go_instead() -> None:
    assert LIGHTS.check(Light.RED, Light.GREEN) is Light.GREEN
    with pytest.raises(Conflict, match="cannot become broken; from here it can go to red"):
        LIGHTS.check(Light.GREEN, Light.BROKEN)
    with pytest.raises(Conflict, match="it is final"):
        LIGHTS.check(Light.BROKEN, Light.RED)
    assert LIGHTS.is_terminal(Light.BROKEN)
    assert not LIGHTS.is_terminal(Light.RED)


def test_not_found_names_what_was_looked_for() -> None:
    assert str(NotFound("model version", name="late", number=3)) == "no model version with name 'late', number 3"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_permission_to_be_plain_http(host: str) -> None:
    assert Settings(platform_host=host).host("platform") == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "platform.example"])
def test_plain_http_on_a_network_is_refused_until_someone_answers_for_it(host: str) -> None:
    with pytest.raises(ValueError, match=r"CARRARA_SERVING_HOST is .*TLS.*CARRARA_INSECURE_HTTP=1"):
        Settings(serving_host=host).host("serving")
    assert Settings(serving_host=host, insecure_http=True).host("serving") == host
