"""Every parameter of every route, as OpenAPI lists them, against input that nobody means well with (F48)."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from tests.support.deployments import FALLBACK, Town, make_town
from tests.support.people import make_token

from carrara.access.domain import Actor
from carrara.api.app import create_app
from carrara.bootstrap.platform import Services
from carrara.persistence.database import Database

NUL = "a\x00b"
HUGE = "9" * 25
HOSTILE = (NUL, "a" * 300, "😀", "\u202eabc", "../..", "<script>alert(1)</script>", HUGE, "9" * 5000, "-1")
HOSTILE_VALUES: tuple[Any, ...] = (
    NUL,
    "a" * 300,
    "😀",
    "\u202e",
    "\ud800",
    {"a\x00": 1},
    10**25,
    2**63,
    -(2**63),
    [],
    None,
    True,
)
METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture
def town(database: Database) -> Town:
    return make_town(database)


@pytest.fixture
def headers(town: Town) -> dict[str, str]:
    return {"Authorization": f"Bearer {make_token(town.database, town.ada)}"}


@pytest.fixture
def as_platform_admin(database: Database, admin: Actor, town: Town) -> dict[str, str]:
    return {"Authorization": f"Bearer {make_token(database, admin)}"}


class Surface:
    """What the API says that it takes, and harmless values for all of it."""

    def __init__(self, services: Services, known: dict[str, str]) -> None:
        self.document = create_app(services).openapi()
        self._known = known

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for path, operations in self.document["paths"].items():
            for method, operation in operations.items():
                if method in METHODS:
                    yield method, path, operation

    def address(self, path: str, operation: dict[str, Any], changed: dict[str, str]) -> str:
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                name = parameter["name"]
                value = changed.get(name) or quote(self._known.get(name, str(uuid4())), safe="")
                path = path.replace("{%s}" % name, value).replace("{%s:path}" % name, value)  # noqa: UP031  # braces
        return path

    def body(self, operation: dict[str, Any]) -> Any:
        content = operation.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        return None if schema is None else self._example(schema)

    def _example(self, schema: dict[str, Any]) -> Any:
        if "$ref" in schema:
            return self._example(self.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
        for key in ("anyOf", "oneOf", "allOf"):
            if key in schema:
                return self._example(schema[key][0])
        if "const" in schema or "enum" in schema:
            return schema.get("const", schema.get("enum", [None])[0])
        if schema.get("type") == "object":
            return {name: self._example(each) for name, each in schema.get("properties", {}).items()}
        examples = {"string": "abc", "integer": 1, "number": 1.0, "boolean": True, "null": None}
        return (
            [self._example(schema["items"])] if schema.get("type") == "array" else examples.get(schema.get("type", ""))
        )


def changed_somewhere(body: Any, values: tuple[Any, ...]) -> Iterator[Any]:
    """The body with each of its leaves replaced by each of the values."""
    if isinstance(body, dict):
        for key, below in body.items():
            for changed in changed_somewhere(below, values):
                yield {**body, key: changed}
        yield {**body, NUL: 1}
        return
    if isinstance(body, list):
        for changed in changed_somewhere(body[0], values):
            yield [changed]
    yield from values


@pytest.fixture
def surface(services: Services, town: Town) -> Surface:
    town.endpoint(fallback=FALLBACK)
    digest = town.version(1)
    known = {"project": town.project.name, "endpoint": "arrivals", "model": "delays", "number": "1", "digest": digest}
    return Surface(services, {**known, "dataset": "flights", "snapshot": "1", "user": town.bob.name, "path": "a/b"})


def test_no_parameter_of_any_route_makes_a_fault_of_ours(
    client: TestClient, surface: Surface, headers: dict[str, str]
) -> None:
    faults, asked = [], 0
    for method, path, operation in surface.operations():
        for parameter in operation.get("parameters", ()):
            for value in (*(quote(each, safe="") for each in HOSTILE), "%2e%2e", "%ff%fe"):
                where = parameter["name"]
                if parameter["in"] == "header":
                    continue
                address = surface.address(path, operation, {where: value} if parameter["in"] == "path" else {})
                query = f"?{where}={value}" if parameter["in"] == "query" else ""
                answer = client.request(method, address + query, headers=headers, json=surface.body(operation))
                asked += 1
                if answer.status_code >= 500:
                    faults.append(f"{method} {path} {where}={value[:30]}: {answer.status_code} {answer.text[:200]}")
    assert asked > 500
    assert not faults, "\n".join(faults)


def test_no_body_of_any_route_makes_a_fault_of_ours(
    client: TestClient, surface: Surface, headers: dict[str, str]
) -> None:
    faults, asked = [], 0
    for method, path, operation in surface.operations():
        example = surface.body(operation)
        if example is None:
            continue
        address = surface.address(path, operation, {})
        for body in changed_somewhere(example, HOSTILE_VALUES):
            text = json.dumps(body)
            answer = client.request(
                method, address, headers={**headers, "Content-Type": "application/json"}, content=text
            )
            asked += 1
            if answer.status_code >= 500:
                faults.append(f"{method} {path} {text[:150]}: {answer.status_code} {answer.text[:200]}")
    assert asked > 500
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Idempotency-Key", "k\x00"),
        ("Idempotency-Key", "é"),
        ("X-Request-Id", "\x00"),
        ("Authorization", "Bearer \x00"),
    ],
)
def test_headers_that_no_database_takes_are_refused(
    client: TestClient, town: Town, headers: dict[str, str], name: str, value: str
) -> None:
    given = {key.encode(): text.encode("latin-1") for key, text in {**headers, name: value}.items()}
    answer = client.post(f"/api/v1/projects/{town.project.name}/endpoints", headers=given, json={"name": "arrivals"})
    assert answer.status_code < 500
    if "\x00" in value:
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_value")
        assert name.lower() in answer.json()["issues"][0]["where"]


@pytest.mark.parametrize(
    ("address", "where"), [("/projects/a%00b", "path"), ("/projects/flights/models?search=a%00", "query.search")]
)
def test_a_nul_in_an_address_is_named(client: TestClient, headers: dict[str, str], address: str, where: str) -> None:
    answer = client.get("/api/v1" + address, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_value")
    assert [issue["where"] for issue in answer.json()["issues"]] == [where]


def test_a_nul_in_a_body_is_named(client: TestClient, town: Town, headers: dict[str, str]) -> None:
    body = {"kind": "train", "spec": {"trainer": {"params": ["x", NUL]}}}
    answer = client.post(f"/api/v1/projects/{town.project.name}/jobs", headers=headers, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_value")
    assert answer.json()["issues"][0]["where"] == "body.spec.trainer.params.1"
