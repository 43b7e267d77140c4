"""Models, versions, files and releases over HTTP."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update
from tests.support.people import give_roles, make_actor, make_project, make_token
from tests.support.registry_rows import add_model, add_versions

from carrara.access.domain import Actor, MemberRole, Project
from carrara.bootstrap.platform import Services
from carrara.deployments.tables import EndpointRow
from carrara.kernel.ids import uuid7
from carrara.persistence.database import Database, Scope
from carrara.registry.tables import VersionRow

BASE = "/api/v1/projects/quarry"


@pytest.fixture
def author(database: Database) -> Actor:
    return make_actor(database, "ada")


@pytest.fixture
def project(database: Database, author: Actor) -> Project:
    return make_project(database, author, "quarry")


@pytest.fixture
def headers(database: Database, author: Actor) -> dict[str, str]:
    return {"Authorization": f"Bearer {make_token(database, author)}"}


@pytest.fixture
def releases(database: Database, project: Project, author: Actor) -> list[Any]:
    """Twelve versions of `delays`, the last one rejected, and one of `fares`."""
    with database.transaction(Scope(project.id, author.id)) as session:
        delays = add_model(session, project, author, "delays")
        fares = add_model(session, project, author, "fares")
        made = add_versions(session, project, author, delays, range(1, 12))
        add_versions(session, project, author, delays, range(12, 13), state="rejected")
        add_versions(session, project, author, fares, range(1, 2), state="validated")
    return made


def pages(client: TestClient, path: str, headers: dict[str, str], **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = None
    while True:
        answer = client.get(path, headers=headers, params={**query, **({"after": after} if after else {})})
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        after = answer.json()["next"]
        if after is None:
            return found


@pytest.mark.usefixtures("releases")
def test_pages_of_versions_hold_each_once(client: TestClient, headers: dict[str, str]) -> None:
    found = pages(client, f"{BASE}/models/delays/versions", headers, limit=5)
    assert [version["number"] for version in found] == list(range(12, 0, -1))
    every = pages(client, f"{BASE}/versions", headers, limit=4)
    assert len({version["id"] for version in every}) == 13
    assert [
        (model["name"], model["versions"], model["latest_version"])
        for model in pages(client, f"{BASE}/models", headers, limit=1)
    ] == [("delays", 12, 12), ("fares", 1, 1)]


@pytest.mark.usefixtures("releases")
@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"search": "are"}, 1),
        ({"search": "delay"}, 12),
        ({"search": "%"}, 0),
        ({"search": "_"}, 0),
        ({"state": "rejected"}, 1),
        ({"state": "validated", "search": "fares"}, 1),
        ({"state": "retired"}, 0),
    ],
)
def test_search_finds_by_part_of_the_name_and_state(
    client: TestClient, headers: dict[str, str], query: dict[str, str], count: int
) -> None:
    assert len(pages(client, f"{BASE}/versions", headers, limit=100, **query)) == count


@pytest.mark.usefixtures("releases")
@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/models/nothing", 404, "not_found"),
        ("/models/nothing/versions", 404, "not_found"),
        ("/models/delays/versions/99", 404, "not_found"),
        ("/models/delays/versions/0", 422, "invalid"),
        ("/models/delays/versions/99999999999999", 422, "invalid"),
        ("/models/delays/versions?after=x", 422, "bad_place"),
        ("/models/delays/versions?limit=501", 422, "invalid"),
        ("/models/delays/versions?state=best", 422, "invalid"),
        ("/models/..%2f..%2fx/versions", 404, "not_found"),
        ("/models/delays/versions/1/files/..%2f..%2fetc%2fpasswd", 404, "not_found"),
        ("/versions?after=x", 422, "invalid"),
        ("/releases/sha256:nothing", 404, "not_found"),
    ],
)
def test_what_is_wrong_is_named(client: TestClient, headers: dict[str, str], path: str, status: int, code: str) -> None:
    answer = client.get(BASE + path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


@pytest.mark.usefixtures("releases")
def test_a_version_shows_its_files_release_and_lineage(
    client: TestClient,
    headers: dict[str, str],
    releases: list[Any],
    services: Services,
    database: Database,
    project: Project,
) -> None:
    blob = services.blobs.put_bytes(b"flavors: {}")
    file = {"path": "MLmodel", "digest": blob.digest, "size": blob.size}
    with database.transaction(Scope(project.id)) as session:
        session.execute(update(VersionRow).where(VersionRow.number == 3).values(artifact_files=[file]))
    version = client.get(f"{BASE}/models/delays/versions/3", headers=headers).json()
    assert version["files"] == client.get(f"{BASE}/models/delays/versions/3/files", headers=headers).json() == [file]
    assert client.get(f"{BASE}/models/delays/versions/3/files/MLmodel", headers=headers).content == b"flavors: {}"
    release = client.get(f"{BASE}/releases/{version['release']}", headers=headers).json()
    assert (release["model"], release["version"], release["manifest"]["project"]) == ("delays", 3, "quarry")
    lineage = client.get(f"{BASE}/models/delays/versions/3/lineage", headers=headers).json()
    assert [step["kind"] for step in lineage["steps"]] == ["version", "release"]


def test_fault_f24_what_is_live_or_the_way_back_is_not_retired(
    client: TestClient,
    headers: dict[str, str],
    releases: list[Any],
    database: Database,
    project: Project,
    author: Actor,
) -> None:
    with database.transaction(Scope(project.id)) as session:
        session.add(
            EndpointRow(
                id=uuid7(),
                project_id=project.id,
                name="late",
                current_release_id=releases[0],
                desired_release_id=releases[0],
                rollback_target_id=releases[1],
                candidate_release_id=releases[2],
                created_by=author.id,
            )
        )
    for number, need in ((1, "live at"), (2, "the way back of"), (3, "being promoted at")):
        path = f"{BASE}/models/delays/versions/{number}/retire"
        answer = client.post(path, headers=headers, json={"reason": "old"})
        assert (answer.status_code, answer.json()["code"]) == (409, "in_use")
        assert f"{need} endpoint 'late'" in answer.json()["detail"]
        assert len(answer.json()["facts"]["referrers"]) == 1
    answer = client.post(f"{BASE}/models/delays/versions/4/retire", headers=headers, json={"reason": "old"})
    assert (answer.status_code, answer.json()["state"]) == (200, "retired")
    again = client.post(f"{BASE}/models/delays/versions/4/retire", headers=headers, json={"reason": "old"})
    assert again.json()["code"] == "bad_transition"


def test_a_viewer_reads_and_does_not_retire(
    client: TestClient, releases: list[Any], database: Database, project: Project, author: Actor
) -> None:
    viewer = make_actor(database, "vera")
    give_roles(database, author, project, "vera", MemberRole.VIEWER)
    headers = {"Authorization": f"Bearer {make_token(database, viewer)}"}
    assert client.get(f"{BASE}/models", headers=headers).status_code == 200
    answer = client.post(f"{BASE}/models/delays/versions/4/retire", headers=headers, json={"reason": "old"})
    assert answer.status_code == 403


def test_another_project_sees_nothing(
    client: TestClient, releases: list[Any], database: Database, headers: dict[str, str]
) -> None:
    other = make_actor(database, "olga")
    make_project(database, other, "elsewhere")
    as_other = {"Authorization": f"Bearer {make_token(database, other)}"}
    digest = client.get(f"{BASE}/models/delays/versions/3", headers=headers).json()["release"]
    assert client.get(f"{BASE}/models", headers=as_other).status_code == 404
    assert client.get("/api/v1/projects/elsewhere/models", headers=as_other).json()["items"] == []
    assert client.get("/api/v1/projects/elsewhere/models/delays/versions/3", headers=as_other).status_code == 404
    assert client.get(f"/api/v1/projects/elsewhere/releases/{digest}", headers=as_other).status_code == 404
