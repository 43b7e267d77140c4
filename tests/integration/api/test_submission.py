"""Submitting a training over HTTP: the table is read before the transaction, and what is wrong is told at once."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.support.deployments import Town, make_town
from tests.support.people import make_token

from carrara.bootstrap.platform import Services
from carrara.datasets.preparation import prepare_split
from carrara.persistence.database import Database

ROWS = "\n".join(f"2013-01-{day:02}T00:00:00Z,{day % 7},{day % 2}" for day in range(1, 31))
SPEC: dict[str, Any] = {
    "model": "delays",
    "dataset": "flights",
    "split": {"kind": "time", "column": "at", "holdout_from": "2013-01-20T00:00:00Z"},
    "target": {"column": "late", "greater_than": 0.5},
    "task": "classification",
    "trainer": {"builtin": "logistic"},
}


@pytest.fixture
def town(database: Database) -> Town:
    return make_town(database)


@pytest.fixture
def headers(client: TestClient, town: Town) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {make_token(town.database, town.ada)}"}
    address = f"/api/v1/projects/{town.project.name}/datasets/flights/snapshots"
    pushed = client.post(address, headers=headers, content=f"at,day,late\n{ROWS}\n")
    assert pushed.status_code == 201, pushed.text
    return headers


def test_a_submission_reads_the_table_with_no_transaction_open(
    client: TestClient, town: Town, headers: dict[str, str], services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections: list[int] = []

    def watched(*given: Any, **named: Any) -> Any:
        connections.append(services.database.engine.pool.checkedout())  # type: ignore[attr-defined]  # a QueuePool
        return prepare_split(*given, **named)

    monkeypatch.setattr("carrara.training.handler.prepare_split", watched)
    address = f"/api/v1/projects/{town.project.name}/jobs"
    answers = [client.post(address, headers=headers, json={"kind": "train", "spec": SPEC}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201], answers[0].text
    assert connections == [0], "read once, and no connection was held meanwhile"


def test_an_empty_holdout_is_told_at_submission(client: TestClient, town: Town, headers: dict[str, str]) -> None:
    spec = {**SPEC, "split": {"kind": "time", "column": "at", "holdout_from": "2014-01-01T00:00:00Z"}}
    answer = client.post(f"/api/v1/projects/{town.project.name}/jobs", headers=headers, json={"spec": spec})
    assert answer.status_code == 422
    assert "holdout" in answer.text
