"""The bytes of a request: unpacked and parsed under a limit, before anything looks at their meaning.

orjson parses; what it refuses, or what may hold a key twice, is parsed again by the standard library, which is slower
and can say exactly what is wrong, or give NaN and Infinity to be named by row and column.
"""

import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from carrara.inference.failures import MalformedBody
from carrara.kernel.errors import TooLarge

_GZIP = 16 + zlib.MAX_WBITS
_MAX_DIGITS = 400  # the largest double has 309
_MAX_MEMBERS = 64


@dataclass(frozen=True)
class Parsed:
    """A JSON document. `has_non_finite`: some number in it is NaN or infinite, so look for it."""

    document: Any
    has_non_finite: bool


def unpack(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """The body without its content encoding (`identity` or `gzip`); never holds more than `max_bytes` of it."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise MalformedBody(f"content encoding {encoding[:40]!r}; expected gzip or none", code="unknown_encoding")
    plain = bytearray()
    rest = body
    for _ in range(_MAX_MEMBERS):
        member = zlib.decompressobj(_GZIP)
        try:
            plain += member.decompress(rest, max_bytes - len(plain) + 1)
        except zlib.error as error:
            raise MalformedBody(f"the body is no gzip: {error}", code="bad_gzip") from error
        if len(plain) > max_bytes:
            raise TooLarge(f"the body unpacks to more than {max_bytes} bytes", limit=max_bytes)
        if not member.eof:
            raise MalformedBody("the gzip body ends too early", code="bad_gzip")
        rest = member.unused_data
        if not rest:
            return bytes(plain)
    raise MalformedBody(f"the gzip body has more than {_MAX_MEMBERS} members", code="bad_gzip")


def parse(body: bytes) -> Parsed:
    """The JSON document in `body`. `MalformedBody` for what is none, for a key that is there twice, and for depth."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _parse_slowly(body)
    if _may_have_twins(document, body):
        return _parse_slowly(body)
    return Parsed(document, has_non_finite=False)


def _may_have_twins(document: Any, body: bytes) -> bool:
    """Whether a key may be there twice: then the body has more colons than the keys and texts that survived.

    Exact for what a request may hold: two levels of keys, scalars below. Anything deeper only counts as "may".
    """
    objects = _objects(document)
    colons = body.count(b":")
    if colons == sum(map(len, objects)):
        return False
    if b"\\u003" in body:  # an escaped colon is in the text and not in the body
        return True
    texts = [text for found in objects for text in (*found, *_scalars(found)) if isinstance(text, str)]
    return colons != sum(map(len, objects)) + sum(text.count(":") for text in texts)


def _objects(document: Any) -> list[dict[str, Any]]:
    if not isinstance(document, dict):
        return []
    found = [document]
    for value in document.values():
        if isinstance(value, dict):
            found.append(value)
        elif isinstance(value, list):
            found += [row for row in value if isinstance(row, dict)]
    return found


def _scalars(found: dict[str, Any]) -> Iterator[Any]:
    for value in found.values():
        if isinstance(value, list):
            yield from value
        else:
            yield value


def _parse_slowly(body: bytes) -> Parsed:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body is not UTF-8: byte {error.start} is wrong", code="not_utf8") from error
    non_finite: list[str] = []

    def constant(name: str) -> float:
        non_finite.append(name)
        return float(name)

    def number(digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            non_finite.append(digits)
        return value

    try:
        document = json.loads(
            text, object_pairs_hook=_unique, parse_constant=constant, parse_float=number, parse_int=_bounded_int
        )
        if "\\u" in text:
            json.dumps(document, ensure_ascii=False).encode()
    except RecursionError as error:
        raise MalformedBody("the JSON is nested too deeply", code="too_deep") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise MalformedBody(f"the body is no JSON: {error.msg} at {where}", code="bad_json") from error
    except UnicodeEncodeError as error:
        raise MalformedBody("a text in the JSON has half of a surrogate pair", code="bad_json") from error
    return Parsed(document, has_non_finite=bool(non_finite))


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twin = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise MalformedBody(f"the key {twin[:80]!r} is there twice in one object", code="duplicate_key")
    return found


def _bounded_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:  # int() takes time that grows with the square of the length
        raise MalformedBody(f"a number of {len(digits)} digits; at most {_MAX_DIGITS} are read", code="number_too_long")
    return int(digits)
