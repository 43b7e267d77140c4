"""Pushing and reading datasets over HTTP, with what people really send."""

import base64
import gzip
import hashlib
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from tests.support.people import give_roles, make_actor, make_token
from tests.unit.kernel.test_kernel import HOSTILE_NAMES

from carrara.access.domain import Actor, MemberRole, Project
from carrara.api.uploads import sweep
from carrara.bootstrap.platform import Services
from carrara.persistence.database import Database

CSV = b"day,key,x\n2013-01-01,a,1\n2013-01-02,b,2\n2013-01-03,a,3\n"
BASE = "/api/v1/projects/flights/datasets"


def _push(client: TestClient, content: bytes, name: str = "days", **query: Any) -> Any:
    return client.post(f"{BASE}/{name}/snapshots", content=content, params=query)


def _uploads(services: Services) -> list[Path]:
    return list((services.settings.data_dir / "uploads").rglob("*"))


def test_a_push_answers_with_schema_and_digest_and_leaves_no_upload(client: TestClient, services: Services) -> None:
    answer = _push(client, CSV, description="three days")

    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert body["is_new"] is True
    snapshot = body["snapshot"]
    assert (snapshot["number"], snapshot["row_count"], snapshot["created_by"]) == (1, 3, "ada")
    assert [(column["name"], column["type"]) for column in snapshot["columns"]] == [
        ("day", "date"),
        ("key", "text"),
        ("x", "integer"),
    ]
    assert snapshot["columns"][1]["categories"] == ["a", "b"]
    assert (snapshot["time_column"], snapshot["time_from"]) == ("day", "2013-01-01T00:00:00Z")
    assert client.get(f"{BASE}/days").json()["description"] == "three days"
    assert _uploads(services) == []


@pytest.mark.parametrize("form", ["gzip", "parquet"])
def test_the_same_table_in_another_form_is_the_same_snapshot(client: TestClient, form: str) -> None:
    first = _push(client, CSV).json()["snapshot"]
    if form == "gzip":
        content = gzip.compress(CSV)
    else:
        buffer = io.BytesIO()
        day = pa.array([15706, 15707, 15708], pa.int32()).cast(pa.date32())
        pq.write_table(pa.table({"day": day, "key": ["a", "b", "a"], "x": pa.array([1, 2, 3], pa.int8())}), buffer)
        content = buffer.getvalue()

    answer = _push(client, content)

    assert answer.json() == {"snapshot": first, "is_new": False}


def test_everything_pushed_can_be_read_back(client: TestClient) -> None:
    first = _push(client, CSV).json()["snapshot"]
    second = _push(client, CSV + b"2013-01-04,c,4\n").json()["snapshot"]

    assert [each["latest_snapshot"] for each in client.get(BASE).json()["items"]] == [2]
    assert client.get(f"{BASE}/days/snapshots/latest").json() == second
    assert client.get(f"{BASE}/days/snapshots/1").json() == first
    assert client.get(f"{BASE}/days/snapshots/{first['digest']}").json() == first
    page = client.get(f"{BASE}/days/snapshots", params={"limit": 1}).json()
    assert page["items"] == [second]
    rest = client.get(f"{BASE}/days/snapshots", params={"limit": 1, "after": page["next"]}).json()
    assert rest["items"] == [first]
    profile = client.get(f"{BASE}/days/snapshots/2/profile").json()
    assert profile["rows"] == 4
    assert profile["columns"][2]["mean"] == 2.5
    data = client.get(f"{BASE}/days/snapshots/1/data")
    assert data.headers["content-disposition"] == 'attachment; filename="days-1.parquet"'
    assert pq.read_table(io.BytesIO(data.content)).column("x").to_pylist() == [1, 2, 3]


def test_a_malformed_file_is_refused_with_line_and_column(client: TestClient, services: Services) -> None:
    answer = _push(client, CSV + b'2013-01-04,"c,4\n')

    assert answer.status_code == 422
    problem = answer.json()
    assert problem["code"] == "malformed_csv"
    assert problem["issues"][0]["where"] == "line 5, column 'key'"
    assert problem["issues"][0]["facts"] == {"line": 5, "column": "'key'"}
    assert client.get(f"{BASE}/days").status_code == 404
    assert _uploads(services) == []


def test_options_are_checked_and_obeyed(client: TestClient) -> None:
    unknown = _push(client, CSV, options='{"delimeter": ";"}')
    assert unknown.status_code == 422
    assert "did you mean 'delimiter'?" in unknown.json()["detail"]
    assert _push(client, CSV, options="{").json()["detail"].startswith("options: not JSON")
    assert _push(client, CSV, options=json.dumps({"types": {"y": "text"}})).json()["code"] == "unknown_column"
    bad = _push(client, CSV, options=json.dumps({"types": {"key": "integer"}})).json()
    assert bad["detail"].startswith("line 2, column 'key': 'a' is not a whole number")
    assert _push(client, CSV, options=json.dumps({"time_column": "x"})).json()["code"] == "bad_time_column"
    text = _push(client, CSV, options=json.dumps({"types": {"x": "text"}})).json()["snapshot"]
    assert text["columns"][2]["type"] == "text"
    semicolons = _push(client, CSV.replace(b",", b";"), name="other", options='{"delimiter": ";"}').json()
    assert semicolons["snapshot"]["row_count"] == 3


def test_fault_f48_hostile_dataset_names_never_reach_a_path(client: TestClient, services: Services) -> None:
    for name in filter(None, HOSTILE_NAMES):
        quoted = "".join(f"%{byte:02X}" for byte in name.encode(errors="surrogatepass"))

        answer = client.post(f"{BASE}/{quoted}/snapshots", content=CSV)

        assert answer.status_code in (404, 405, 422), (name, answer.text)
    assert client.get(BASE).json()["items"] == []
    assert _uploads(services) == []


def test_a_body_over_the_limit_is_refused_before_it_is_read(client: TestClient, services: Services) -> None:
    limit = services.settings.max_upload_bytes
    told = client.post(f"{BASE}/days/snapshots", content=b"x", headers={"Content-Length": str(limit + 1)})
    streamed = client.post(f"{BASE}/days/snapshots", content=(bytes(8 << 20) for _ in range(9)))

    assert (told.status_code, streamed.status_code) == (413, 413)
    assert streamed.json()["facts"] == {"limit": limit}
    assert _uploads(services) == []


def test_an_empty_body_is_told(client: TestClient) -> None:
    assert _push(client, b"").json()["code"] == "empty_file"


def test_a_content_digest_is_checked(client: TestClient) -> None:
    def push(value: str) -> Any:
        return client.post(f"{BASE}/days/snapshots", content=CSV, headers={"Content-Digest": value})

    right = base64.b64encode(hashlib.sha256(CSV).digest()).decode()
    wrong = base64.b64encode(hashlib.sha256(b"").digest()).decode()
    assert push(f"sha-256=:{wrong}:").json()["code"] == "upload_damaged"
    assert push("sha-256=:???:").json()["code"] == "bad_header"
    assert push(f"sha-512=:AAAA:, sha-256=:{right}:").status_code == 201


def test_the_same_key_gives_the_first_answer_and_another_body_is_refused(client: TestClient) -> None:
    def push(content: bytes) -> Any:
        return client.post(f"{BASE}/days/snapshots", content=content, headers={"Idempotency-Key": "k1"})

    first, again, other = push(CSV), push(CSV), push(CSV + b"2013-01-04,c,4\n")

    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")


def test_what_killed_uploads_left_is_swept_and_what_is_under_way_is_not(tmp_path: Path) -> None:
    for name, age in (("upload-old", 7200), ("upload-new", 0), ("other", 7200)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "body").write_bytes(b"x")
        for path in (tmp_path / name / "body", tmp_path / name):
            os.utime(path, (time.time() - age, time.time() - age))
    os.utime(tmp_path / "upload-new", (0, 0))

    assert sweep(tmp_path) == 1

    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "upload-new"]


def test_splits_over_http(client: TestClient) -> None:
    _push(client, CSV + b"2013-01-03,a,3\n2013-01-04,a,3\n")
    url = f"{BASE}/days/snapshots/latest/splits"
    spec = {"kind": "time", "column": "day", "holdout_from": "2013-01-03", "identity": ["key"]}

    made = client.post(url, json={"spec": spec})
    again = client.post(url, json={"spec": spec})

    assert (made.status_code, again.status_code) == (201, 200)
    assert made.json() == again.json()
    body = made.json()
    assert (body["train_rows"], body["holdout_rows"], body["excluded_rows"]) == (2, 3, 0)
    assert body["shared_rows"] == {
        "count": 3,
        "compared": ["key"],
        "first": [
            {"holdout_row": 2, "train_row": 0},
            {"holdout_row": 3, "train_row": 0},
            {"holdout_row": 4, "train_row": 0},
        ],
    }
    assert client.get(url).json()["items"] == [body]
    assert client.get(f"/api/v1/projects/flights/splits/{body['id']}").json() == body
    empty = client.post(url, json={"spec": spec | {"holdout_from": "2014-01-01"}}).json()
    assert empty["code"] == "empty_holdout"
    assert "goes from 2013-01-01 to 2013-01-04" in empty["detail"]
    missing = client.post(url, json={"spec": spec | {"column": "nothing"}}).json()
    assert missing["issues"][0] == {
        "where": "spec.column",
        "message": "there is no column 'nothing'",
        "code": "unknown_column",
        "facts": {},
    }
    assert client.post(url, json={"spec": {"kind": "random"}}).status_code == 422


def test_only_data_scientists_push_and_every_member_reads(
    client: TestClient, database: Database, project: Project, ada: Actor
) -> None:
    _push(client, CSV)
    vera = make_actor(database, "vera")
    give_roles(database, ada, project, "vera", MemberRole.VIEWER)
    viewer = {"Authorization": f"Bearer {make_token(database, vera)}"}

    refused = client.post(f"{BASE}/days/snapshots", content=CSV, headers=viewer)

    assert (refused.status_code, refused.json()["facts"]) == (403, {"permission": "push_data"})
    assert client.get(f"{BASE}/days/snapshots/latest", headers=viewer).status_code == 200
    eve = {"Authorization": f"Bearer {make_token(database, make_actor(database, 'eve'))}"}
    assert client.get(f"{BASE}/days/snapshots/latest", headers=eve).status_code == 404
