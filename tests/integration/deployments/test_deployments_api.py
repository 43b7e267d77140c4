"""Endpoints, approvals, rollbacks, the audit and serving's own routes over HTTP."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from tests.support.deployments import FALLBACK, Town
from tests.support.fleet import Fleet, Process
from tests.support.people import make_actor, make_token

from carrara.access.domain import Actor
from carrara.api.app import create_app
from carrara.audit.sealing import Sealer
from carrara.bootstrap.platform import build
from carrara.contracts.routes import RouteTable
from carrara.kernel.config import Settings

SECRET = "what serving shows"


@dataclass
class Api:
    """The application as its callers see it."""

    client: TestClient
    town: Town

    def ask(self, method: str, path: str, *, by: Actor | None = None, **more: Any) -> Response:
        token = make_token(self.town.database, by or self.town.ada)
        headers = {"Authorization": f"Bearer {token}"}
        return self.client.request(method, f"/api/v1{path}", headers=headers, **more)

    def endpoint(self, method: str, path: str = "", *, by: Actor | None = None, **more: Any) -> Response:
        return self.ask(method, f"/projects/{self.town.project.name}/endpoints{path}", by=by, **more)

    def serving(self, method: str, path: str, *, secret: str = SECRET, **more: Any) -> Response:
        headers = {"Authorization": f"Bearer {secret}"}
        return self.client.request(method, f"/internal/v1{path}", headers=headers, **more)


@pytest.fixture
def api(town: Town, database_url: str, tmp_path: Path) -> Iterator[Api]:
    settings = Settings.model_validate(
        {
            "database_url": database_url,
            "object_store": str(tmp_path / "store"),
            "data_dir": str(tmp_path),
            "serving_secret": SECRET,
        }
    )
    services = build(settings)
    services = replace(services, neighbours=town.neighbours)
    with TestClient(create_app(services), raise_server_exceptions=False) as client:
        yield Api(client, town)


def test_from_an_empty_endpoint_to_live_and_back_over_http(api: Api, fleet: Fleet) -> None:
    town = api.town
    digest = town.version(1)
    made = api.endpoint("POST", json={"name": "arrivals"})
    assert (made.status_code, made.json()["status"]["state"]) == (201, "empty")
    chosen = {"model": "delays", "version": 1}

    refused = api.endpoint("POST", "/arrivals/promotions", json={**chosen, "reason": "first"})
    assert (refused.status_code, refused.json()["code"]) == (409, "not_approved")
    dry = api.endpoint("POST", "/arrivals/promotions", json={**chosen, "reason": "first", "dry_run": True})
    assert (dry.status_code, dry.json()["ready"], dry.json()["rollout"]) == (200, False, None)

    own = api.endpoint("POST", "/arrivals/approvals", json=chosen)
    assert (own.status_code, own.json()["code"]) == (403, "four_eyes")
    not_approver = api.endpoint("POST", "/arrivals/approvals", json=chosen, by=town.cyd)
    assert (not_approver.status_code, not_approver.json()["code"]) == (403, "forbidden")
    approved = api.endpoint("POST", "/arrivals/approvals", json=chosen, by=town.bob)
    assert (approved.status_code, approved.json()["approver"]) == (201, town.bob.name)

    body = {**chosen, "reason": "first", "fallback": FALLBACK.model_dump(mode="json")}
    started = api.endpoint("POST", "/arrivals/promotions", json=body)
    assert started.status_code == 202, started.text
    rollout = started.json()["rollout"]["id"]
    for _ in range(3):
        fleet.report()
        town.reconcile()
    assert api.endpoint("GET", f"/arrivals/rollouts/{rollout}").json()["state"] == "confirmed"
    (listed,) = api.endpoint("GET").json()["items"]
    assert listed["status"]["message"].startswith("serving delays v1 confirmed by 2/2")

    by_viewer = api.endpoint("POST", "/arrivals/rollback", json={"reason": "wrong"}, by=town.bob)
    assert by_viewer.status_code == 200, "an approver may roll back"
    assert (by_viewer.json()["left"]["digest"], by_viewer.json()["restored"]) == (digest, None)
    again = api.endpoint("POST", "/arrivals/rollback", json={"reason": "wrong"}, by=town.bob)
    assert (again.status_code, again.json()["code"]) == (409, "nothing_before")
    history = api.endpoint("GET", "/arrivals/history", params={"limit": 1}).json()
    assert ([entry["kind"] for entry in history["items"]], history["next"]) == (["rollback"], "2")
    rest = api.endpoint("GET", "/arrivals/history", params={"after": history["next"]}).json()
    assert [entry["kind"] for entry in rest["items"]] == ["promotion"]


def test_no_constant_goes_live_by_way_of_the_fallback_without_an_approver(api: Api, fleet: Fleet) -> None:
    town = api.town
    town.endpoint(fallback=FALLBACK)
    town.go_live(town.version(1), fleet)
    other = {"fallback": {"kind": "constant", "prediction": "PAY EVE"}, "reason": "x"}
    refused = api.endpoint("PUT", "/arrivals/fallback", json=other, by=town.cyd)
    assert (refused.status_code, refused.json()["code"]) == (409, "fallback_needs_approver")
    assert api.endpoint("PUT", "/arrivals/fallback", json=other, by=town.bob).status_code == 200
    silent = {"fallback": {"kind": "unavailable"}, "reason": "x"}
    assert api.endpoint("PUT", "/arrivals/fallback", json=silent, by=town.cyd).status_code == 200


def test_retried_rollback_with_its_key_is_one_rollback(api: Api, fleet: Fleet) -> None:
    town = api.town
    town.endpoint(fallback=FALLBACK)
    town.go_live(town.version(1), fleet)
    town.go_live(town.version(2), fleet)
    token = make_token(town.database, town.cyd)
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "once"}
    path = f"/api/v1/projects/{town.project.name}/endpoints/arrivals/rollback"
    answers = [api.client.post(path, json={"reason": "wrong"}, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert len(town.history()) == 3


@pytest.mark.parametrize(
    "body",
    [
        {"reason": "x"},
        {"model": "delays", "reason": "x"},
        {"model": "delays", "version": 1, "release": "sha256:" + "0" * 64, "reason": "x"},
        {"release": "../../x", "reason": "x"},
        {"model": "delays", "version": 1, "reason": "x", "stratgy": "canary"},
    ],
)
def test_malformed_promotion_is_refused_with_its_place(api: Api, body: dict[str, Any]) -> None:
    api.town.endpoint()
    answer = api.endpoint("POST", "/arrivals/promotions", json=body)
    assert (answer.status_code, bool(answer.json()["issues"])) == (422, True)


@pytest.mark.parametrize("name", ["../../x", "a/b", "A", "é", "x" * 64, "", "a;b", "-a"])
def test_hostile_endpoint_names_are_refused(api: Api, name: str) -> None:
    assert api.endpoint("POST", json={"name": name}).status_code == 422


def test_endpoint_of_another_project_is_not_there(api: Api) -> None:
    town = api.town
    town.endpoint()
    stranger = make_actor(town.database, "eve")
    answer = api.endpoint("GET", "/arrivals", by=stranger)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_serving_routes_ask_for_the_serving_secret(api: Api) -> None:
    user = make_token(api.town.database, api.town.ada)
    for secret in ("", "wrong", user):
        for method, path in (("GET", "/routes"), ("POST", "/instances"), ("DELETE", f"/instances/{uuid4()}")):
            assert api.serving(method, path, secret=secret).status_code == 401


def test_route_table_answers_at_once_when_it_is_newer_and_304_when_it_is_not(api: Api) -> None:
    api.town.endpoint(fallback=FALLBACK)
    answer = api.serving("GET", "/routes")
    table = RouteTable.model_validate_json(answer.content)
    assert answer.headers["etag"] == f'"{table.generation}"'
    assert [route.endpoint for route in table.endpoints] == ["arrivals"]
    same = api.serving("GET", "/routes", params={"after": table.generation, "wait": 0.05})
    assert (same.status_code, same.content) == (304, b"")


def test_waiting_poll_is_woken_by_a_rollback(api: Api, fleet: Fleet) -> None:
    town = api.town
    town.endpoint(fallback=FALLBACK)
    v1 = town.version(1)
    town.go_live(v1, fleet)
    town.go_live(town.version(2), fleet)
    after = town.routes().generation
    answers: list[Response] = []

    def wait() -> None:
        answers.append(api.serving("GET", "/routes", params={"after": after, "wait": 20}))

    poll = threading.Thread(target=wait)
    poll.start()
    started = time.monotonic()
    town.roll_back()
    poll.join(timeout=15)
    assert time.monotonic() - started < 15
    (answer,) = answers
    table = RouteTable.model_validate_json(answer.content)
    assert table.generation > after
    assert [slot.release for slot in table.endpoints[0].slots] == [v1]


def test_token_of_a_member_reaches_the_table_and_leaves_it(api: Api) -> None:
    town = api.town
    town.endpoint()

    def table() -> RouteTable:
        return RouteTable.model_validate_json(api.serving("GET", "/routes").content)

    def hashes() -> set[str]:
        return set(table().token_hashes[town.project.name])

    before, generation = hashes(), table().generation
    made = api.ask("POST", "/tokens", json={"name": "ci"})
    assert made.status_code == 201
    assert table().generation > generation
    new = hashes() - before
    assert new
    town.endpoint("other")
    told = api.serving("GET", "/routes").text
    assert [told.count(known) for known in new] == [1] * len(new), "once, however many endpoints there are"
    api.ask("DELETE", f"/tokens/{made.json()['id']}")
    assert len(hashes() & new) < len(new)
    stranger = make_actor(town.database, "eve")
    make_token(town.database, stranger)
    assert len(hashes()) >= 1


def test_lease_is_renewed_and_taken_back(api: Api) -> None:
    town = api.town
    town.endpoint()
    process = Process(town.database, "serving-1", 0)
    process.report()
    report = {
        "instance": "serving-1",
        "index": 0,
        "boot_id": str(process.boot_id),
        "sequence": 2,
        "generation": 1,
        "releases": [],
        "endpoints": [],
    }
    answer = api.serving("POST", "/instances", json=report)
    assert answer.json() == {"generation": town.routes().generation}
    assert api.serving("DELETE", f"/instances/{process.boot_id}").status_code == 204
    assert api.serving("POST", "/instances", json={**report, "boot_id": "x"}).status_code == 422


def test_audit_lists_the_acts_of_a_project_and_verifies(api: Api, fleet: Fleet) -> None:
    town = api.town
    town.endpoint(fallback=FALLBACK)
    town.go_live(town.version(1), fleet)
    Sealer(town.database).seal()
    page = api.ask("GET", f"/projects/{town.project.name}/audit", params={"limit": 3}).json()
    assert [record["action"] for record in page["items"]] == [
        "rollout.confirmed",
        "rollout.switched",
        "rollout.rehearsing",
    ]
    assert all(record["position"] for record in page["items"])
    following = api.ask("GET", f"/projects/{town.project.name}/audit", params={"after": page["next"]}).json()
    actions = [record["action"] for record in following["items"]]
    assert actions[:3] == ["rollout.started", "release.approved", "endpoint.created"]

    assert api.ask("POST", "/audit/verify", json={}).status_code == 403
    admin = make_actor(town.database, "root", is_platform_admin=True)
    head = api.ask("GET", "/audit/head", by=admin).json()
    Sealer(town.database).seal()
    verdict = api.ask("POST", "/audit/verify", json={"heads": [head]}, by=admin).json()
    assert (verdict["holds"], verdict["heads_checked"]) == (True, 1)
    wrong = {**head, "position": head["position"] + 1000}
    broken = api.ask("POST", "/audit/verify", json={"heads": [wrong]}, by=admin).json()
    assert (broken["holds"], broken["broken"]["fault"]) == (False, "truncated")
