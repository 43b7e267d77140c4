"""The tour of the README on small data, by the command line alone: every step, and what stands in its way."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.command_line import CommandLine
from tests.support.stack import Stack
from tests.support.tour import POLICY, make_people, write_spec, write_table

from carrara.cli.exits import Exit
from carrara.sdk.client import Carrara
from carrara.sdk.connection import Connection

pytestmark = pytest.mark.xdist_group("stack")


@pytest.fixture
def people(stack: Stack, tmp_path: Path) -> dict[str, CommandLine]:
    return make_people(stack, tmp_path)


def first_goes_live(people: dict[str, CommandLine], tmp_path: Path) -> Any:
    """Version 1, past everything that stands in its way."""
    boss, ada, grace = people["boss"], people["ada"], people["grace"]
    first = ada.ok("train", write_spec(tmp_path / "v1.json"), "--wait")["version"]
    assert (first["number"], first["state"]) == (1, "evaluated")
    (tmp_path / "policy.yaml").write_text(POLICY)
    policy = boss.ok("gates", "put", "policy.yaml")["digest"]
    endpoint = ada.ok("endpoint", "create", "lateness", "--policy", policy)
    assert endpoint["status"]["state"] == "empty"

    assert ada.ok("gates", "explain", "late", "1", "--endpoint", "lateness")["outcome"] == "passed"
    unapproved = ada.refused("promote", "late", "1", "--endpoint", "lateness", "--fallback", "0", code=Exit.REFUSED)
    assert "approv" in unapproved["message"]
    assert ada.refused("approve", "late", "1", "--endpoint", "lateness", code=Exit.NOT_ALLOWED)["kind"] == "forbidden"
    grace.ok("approve", "late", "1", "--endpoint", "lateness", "--comment", "good")
    assert ada.refused("rollback", "lateness", "--reason", "too early", code=Exit.REFUSED)
    no_way_back = ada.refused("promote", "late", "1", "--endpoint", "lateness", code=Exit.REFUSED)
    assert "fallback" in no_way_back["message"]
    live = ada.ok("promote", "late", "1", "--endpoint", "lateness", "--fallback", "0", "--reason", "first")
    assert live["state"] == "confirmed"
    twice = ada.run("promote", "late", "1", "--endpoint", "lateness", "--json")
    assert twice.code in {Exit.REFUSED, Exit.CONFLICT}
    assert "live" in twice.answer["error"]["message"]
    return first


def test_the_tour_from_a_table_to_a_live_endpoint_and_back(people: dict[str, CommandLine], tmp_path: Path) -> None:
    boss, ada, grace = people["boss"], people["ada"], people["grace"]
    write_table(tmp_path / "rows.csv")
    pushed = ada.ok("data", "push", "rows", "rows.csv", "--time-column", "at")
    again = ada.ok("data", "push", "rows", "rows.csv", "--time-column", "at")
    assert pushed["is_new"]
    assert not again["is_new"]
    assert again["snapshot"]["digest"] == pushed["snapshot"]["digest"]

    first = first_goes_live(people, tmp_path)

    row = {"x": 2.0, "y": 1.0, "colour": "red"}
    (tmp_path / "row.json").write_text(json.dumps(row))
    answer = ada.ok("predict", "lateness", "--rows", "row.json")
    assert answer["release"] == first["release"]
    assert answer["predictions"][0]["prediction"] == 1

    second = ada.ok("train", write_spec(tmp_path / "v2.json", params={"C": 0.5}, endpoint="lateness"), "--wait")
    assert second["version"]["number"] == 2
    grace.ok("approve", "late", "2", "--endpoint", "lateness")
    ada.ok("promote", "late", "2", "--endpoint", "lateness", "--reason", "second")
    assert ada.ok("predict", "lateness", "--rows", "row.json")["version"] == 2
    gone_back = ada.ok("rollback", "lateness", "--reason", "to see the way back")
    assert gone_back["restored"]["version"] == 1
    assert ada.ok("predict", "lateness", "--rows", "row.json")["release"] == first["release"]

    entries = ada.ok("history", "lateness")
    assert [(entry["kind"], entry["release"]["version"]) for entry in entries] == [
        ("rollback", 1),
        ("promotion", 2),
        ("promotion", 1),
    ]
    at = entries[1]["since"]
    assert ada.ok("history", "lateness", "--at", at[:26].rstrip("Z"))[0]["release"]["version"] == 2
    assert boss.ok("audit", "verify")["holds"]


def test_what_is_wrong_with_an_input_is_said_where(people: dict[str, CommandLine], tmp_path: Path) -> None:
    ada = people["ada"]
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n3\n")
    malformed = ada.refused("data", "push", "rows", "bad.csv", code=Exit.INVALID)
    assert "line 3" in malformed["message"] + json.dumps(malformed.get("issues", []))
    assert ada.ok("data", "list") == []
    write_table(tmp_path / "rows.csv")
    ada.ok("data", "push", "rows", "rows.csv")
    cases = {
        "unknown key": ({"modle": "x"}, "modle"),
        "no such column": ({"target": "lateness"}, "lateness"),
        "no such dataset": ({"dataset": "nothing"}, "nothing"),
        "no such snapshot": ({"snapshot": 9}, "9"),
        "empty holdout": ({"split": {"kind": "time", "column": "at", "holdout_from": "2027-01-01"}}, "holdout"),
        "hostile name": ({"model": "../../x"}, "model"),
    }
    for what, (change, named) in cases.items():
        ran = ada.run("train", write_spec(tmp_path / "spec.json", **change), "--json")
        assert ran.code in {Exit.INVALID, Exit.NOT_FOUND}, (what, ran)
        assert named in ran.out, (what, ran.out)
    assert ada.ok("job", "list") == []


def test_a_wrong_token_opens_neither_platform_nor_serving(people: dict[str, CommandLine], stack: Stack) -> None:
    ada = people["ada"]
    stranger = CommandLine(stack, "carrara_00000000_nobody", ada.project, ada.folder)
    assert stranger.refused("whoami", code=Exit.NOT_ALLOWED)["kind"] == "unauthenticated"
    answer = httpx.post(f"{stack.serving_url}/endpoints/{ada.project}/nothing/predict", json={"instances": []})
    assert answer.status_code == 401
    with Carrara(Connection(stack.url, ada.token)) as client:
        assert client.whoami().name.startswith("ada-")
