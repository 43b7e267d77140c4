"""Who may come in: tokens, projects, roles, and answers that can be repeated."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from tests.support.people import make_actor, make_token
from tests.unit.kernel.test_kernel import HOSTILE_NAMES

from carrara.access.domain import Actor
from carrara.persistence.database import EVERYTHING, Database

Headers = dict[str, str]


def test_without_a_token_every_route_of_the_api_says_401(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    api = [(path, method) for path, methods in paths.items() if path.startswith("/api/") for method in methods]
    assert len(api) > 8
    for path, method in api:
        answer = client.request(method, path.replace("{", "").replace("}", ""))
        assert answer.status_code == 401, (method, path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("token", ["", "carrara_x_y", "x" * 5000])
def test_a_wrong_token_is_refused_with_advice(client: TestClient, token: str) -> None:
    answer = client.get("/api/v1/whoami", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert "carrara token create" in answer.json()["detail"]


def test_expired_and_revoked_tokens_no_longer_open_anything(
    client: TestClient, database: Database, as_admin: Headers
) -> None:
    tokens = client.get("/api/v1/tokens", headers=as_admin).json()
    other = client.post("/api/v1/tokens", headers=as_admin, json={"name": "second"}).json()
    headers = {"Authorization": f"Bearer {other['secret']}"}
    assert client.get("/api/v1/whoami", headers=headers).json()["name"] == "root"
    assert client.delete(f"/api/v1/tokens/{other['id']}", headers=as_admin).status_code == 200
    assert client.get("/api/v1/whoami", headers=headers).status_code == 401
    with database.transaction(EVERYTHING) as session:
        session.execute(text("UPDATE api_tokens SET expires_at = now()"))
    assert client.get("/api/v1/whoami", headers=as_admin).status_code == 401
    assert len(tokens) == 1
    assert "secret" not in tokens[0]


def test_a_project_of_others_does_not_exist(client: TestClient, database: Database, as_admin: Headers) -> None:
    assert client.post("/api/v1/projects", headers=as_admin, json={"name": "flights"}).status_code == 201
    stranger = {"Authorization": f"Bearer {make_token(database, make_actor(database, 'eve'))}"}
    there = client.get("/api/v1/projects/flights", headers=stranger)
    nowhere = client.get("/api/v1/projects/nothing", headers=stranger)
    assert there.status_code == nowhere.status_code == 404
    assert there.json()["detail"].replace("flights", "nothing") == nowhere.json()["detail"]
    assert client.get("/api/v1/projects", headers=stranger).json() == []
    refused = client.post("/api/v1/projects", headers=stranger, json={"name": "mine"})
    assert refused.status_code == 403
    assert "not a platform admin" in refused.json()["detail"]


def test_roles_are_sets_and_none_implies_another(client: TestClient, database: Database, as_admin: Headers) -> None:
    client.post("/api/v1/projects", headers=as_admin, json={"name": "flights"})
    viewer = {"Authorization": f"Bearer {make_token(database, make_actor(database, 'vera'))}"}
    put = client.put("/api/v1/projects/flights/members/vera", headers=as_admin, json={"roles": ["viewer"]})
    assert put.json() == {"user": "vera", "roles": ["viewer"]}
    assert client.get("/api/v1/projects/flights", headers=viewer).json()["roles"] == ["viewer"]
    refused = client.put("/api/v1/projects/flights/members/vera", headers=viewer, json={"roles": ["admin"]})
    assert refused.status_code == 403
    assert refused.json()["facts"] == {"permission": "manage_members"}


def test_only_people_approve(client: TestClient, as_admin: Headers) -> None:
    client.post("/api/v1/projects", headers=as_admin, json={"name": "flights"})
    client.post("/api/v1/users", headers=as_admin, json={"name": "ci", "kind": "service"})
    refused = client.put("/api/v1/projects/flights/members/ci", headers=as_admin, json={"roles": ["approver"]})
    assert (refused.status_code, refused.json()["code"]) == (422, "service_cannot_approve")


@pytest.mark.parametrize("name", [name for name in HOSTILE_NAMES if name])
def test_fault_f48_hostile_project_names_give_422(client: TestClient, as_admin: Headers, name: str) -> None:
    answer = client.post("/api/v1/projects", headers=as_admin, json={"name": name})
    assert answer.status_code == 422
    if "\x00" in name:
        assert answer.json()["code"] == "bad_value"
    else:
        assert answer.json()["code"] == "bad_name"
        assert "expected 1 to 63" in answer.json()["detail"]


def test_an_unknown_key_is_named(client: TestClient, as_admin: Headers) -> None:
    answer = client.post("/api/v1/projects", headers=as_admin, json={"name": "a", "teir": 2})
    assert answer.status_code == 422
    assert answer.json()["issues"][0]["where"] == "body.teir"


def test_fault_f14_the_same_key_gives_one_project_and_identical_answers(
    client: TestClient, database: Database, as_admin: Headers
) -> None:
    headers = {**as_admin, "Idempotency-Key": "k-1"}
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(lambda _: client.post("/api/v1/projects", headers=headers, json={"name": "once"}), range(20))
        )
    done = [answer for answer in answers if answer.status_code == 201]
    waiting = [answer for answer in answers if answer.status_code == 409]
    assert len(done) + len(waiting) == 20
    assert len({answer.text for answer in done}) == 1
    assert all(answer.json()["code"] == "in_flight" and answer.headers["retry-after"] for answer in waiting)
    again = client.post("/api/v1/projects", headers=headers, json={"name": "once"})
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    other = client.post("/api/v1/projects", headers=headers, json={"name": "twice"})
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")
    with database.transaction(EVERYTHING) as session:
        records = session.execute(text("SELECT count(*) FROM audit_records WHERE action = 'project.created'"))
        assert records.scalar_one() == 1


def test_an_unknown_address_is_a_problem_too(client: TestClient) -> None:
    answer = client.get("/api/v1/nothing")
    assert answer.status_code == 404
    assert answer.json()["kind"] == "not_found"
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_health_readiness_and_metrics_are_open(client: TestClient, admin: Actor) -> None:
    assert client.get("/healthz").text == "ok\n"
    assert client.get("/readyz").json()["checks"] == {"database": "ok", "object_store": "ok", "schema": "ok"}
    assert 'carrara_api_requests_total{method="GET",route="/healthz",status="200"}' in client.get("/metrics").text


def test_tokens_are_nowhere_in_the_database(client: TestClient, database: Database, as_admin: Headers) -> None:
    secret = as_admin["Authorization"].split()[1]
    with database.transaction(EVERYTHING) as session:
        stored = session.execute(text("SELECT string_agg(t::text, ' ') FROM api_tokens t")).scalar_one()
        audited = session.execute(text("SELECT string_agg(r::text, ' ') FROM audit_records r")).scalar_one()
    assert secret not in stored + audited
    assert secret.rsplit("_", 1)[1] not in stored + audited


def test_a_token_is_not_made_under_an_idempotency_key(client: TestClient, as_admin: dict[str, str]) -> None:
    before = client.get("/api/v1/tokens", headers=as_admin).json()
    answer = client.post("/api/v1/tokens", headers={**as_admin, "Idempotency-Key": "k"}, json={"name": "a", "days": 1})
    assert (answer.status_code, answer.json()["code"]) == (422, "key_not_taken")
    assert client.get("/api/v1/tokens", headers=as_admin).json() == before
