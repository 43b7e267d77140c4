"""Policies, gates and evaluations over HTTP."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.support.people import give_roles, make_actor, make_project, make_token
from tests.support.registry_rows import add_model, add_versions

from carrara.access.domain import Actor, MemberRole, Project
from carrara.persistence.database import Database, Scope

BASE = "/api/v1/projects/quarry"
VERSION = f"{BASE}/models/delays/versions/1"
RULES: dict[str, Any] = {"rules": [{"rule": "metric", "name": "roc_auc", "at_least": 0.9}]}


@pytest.fixture
def author(database: Database) -> Actor:
    return make_actor(database, "ada")


@pytest.fixture
def project(database: Database, author: Actor) -> Project:
    made = make_project(database, author, "quarry")
    with database.transaction(Scope(made.id, author.id)) as session:
        add_versions(session, made, author, add_model(session, made, author, "delays"), range(1, 2), state="validated")
    return made


@pytest.fixture
def headers(database: Database, author: Actor, project: Project) -> dict[str, str]:
    return {"Authorization": f"Bearer {make_token(database, author)}"}


def test_the_same_rules_are_one_policy(client: TestClient, headers: dict[str, str]) -> None:
    first = client.post(f"{BASE}/policies", json={"document": RULES}, headers=headers)
    spelt_out = {"schema_version": 1, "rules": [{**RULES["rules"][0], "judge_by": "value"}]}
    second = client.post(f"{BASE}/policies", json={"document": spelt_out}, headers=headers)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    digest = first.json()["digest"]
    assert client.get(f"{BASE}/policies/{digest}", headers=headers).json() == first.json()
    assert [item["digest"] for item in client.get(f"{BASE}/policies", headers=headers).json()["items"]] == [digest]


def test_a_faulty_policy_is_refused_with_its_place(client: TestClient, headers: dict[str, str]) -> None:
    document = {"rules": [{"rule": "metric", "name": "f1", "at_lest": 1}]}
    answer = client.post(f"{BASE}/policies", json={"document": document}, headers=headers)
    assert answer.status_code == 422
    assert ("policy.rules.0.at_lest", "unknown key; did you mean 'at_least'?") in [
        (issue["where"], issue["message"]) for issue in answer.json()["issues"]
    ]


def test_only_an_admin_of_the_project_sets_policies(
    client: TestClient, database: Database, author: Actor, project: Project
) -> None:
    bob = make_actor(database, "bob")
    give_roles(database, author, project, "bob", MemberRole.DATA_SCIENTIST)
    headers = {"Authorization": f"Bearer {make_token(database, bob)}"}
    assert client.post(f"{BASE}/policies", json={"document": RULES}, headers=headers).status_code == 403


def test_gates_of_a_version_without_evaluation_cannot_tell(client: TestClient, headers: dict[str, str]) -> None:
    report = client.get(f"{VERSION}/gates", headers=headers).json()
    assert report["outcome"] == "could_not_tell"
    assert report["policy_is_default"] is True
    assert all(verdict["how_to_pass"] for verdict in report["verdicts"])


def test_gates_by_the_policy_of_an_endpoint(client: TestClient, headers: dict[str, str]) -> None:
    policy = client.post(f"{BASE}/policies", json={"document": RULES}, headers=headers).json()
    body = {"name": "delays", "policy": policy["digest"]}
    assert client.post(f"{BASE}/endpoints", json=body, headers=headers).status_code == 201
    report = client.get(f"{VERSION}/gates", params={"endpoint": "delays"}, headers=headers).json()
    assert (report["policy_digest"], report["policy_is_default"]) == (policy["digest"], False)
    assert [verdict["asked"] for verdict in report["verdicts"]] == ["metric name roc_auc, at_least 0.9, judge_by value"]


@pytest.mark.parametrize("path", ["gates?endpoint=nowhere", "../7/gates", "../../../models/x/versions/1/evaluations"])
def test_what_is_not_there_is_404(path: str, client: TestClient, headers: dict[str, str]) -> None:
    assert client.get(f"{VERSION}/{path}", headers=headers).status_code == 404


def test_an_evaluation_of_a_version_from_elsewhere_needs_to_know_on_what(
    client: TestClient, headers: dict[str, str]
) -> None:
    answer = client.post(f"{VERSION}/evaluations", json={}, headers=headers)
    assert answer.status_code == 422
    assert [issue["where"] for issue in answer.json()["issues"]] == ["spec.split_id"]
    assert client.get(f"{VERSION}/evaluations", headers=headers).json() == {"items": [], "next": None}
