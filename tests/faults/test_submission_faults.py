"""Requests that come twice (F14)."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from tests.support.jobs import PlayHandler
from tests.support.people import make_actor, make_project, make_token

from carrara.api.app import create_app
from carrara.bootstrap.platform import Services, build
from carrara.contracts.jobs import JobKind
from carrara.kernel.config import Settings
from carrara.persistence.database import EVERYTHING, Database

Headers = dict[str, str]
JOBS = "/api/v1/projects/quarry/jobs"
BODY = {"kind": "train", "spec": {"do": "answer"}}


@pytest.fixture
def services(database_url: str, tmp_path: Path) -> Services:
    """The platform, without a Redis, and with the play job in place of training."""
    settings = {"database_url": database_url, "object_store": str(tmp_path / "store"), "data_dir": str(tmp_path)}
    services = build(Settings.model_validate(settings))
    assert isinstance(services.jobs.handlers, dict)
    services.jobs.handlers[JobKind.TRAIN] = PlayHandler()
    return services


@pytest.fixture
def as_ada(database: Database) -> Headers:
    ada = make_actor(database, "ada")
    make_project(database, ada, "quarry")
    return {"Authorization": f"Bearer {make_token(database, ada)}"}


def count_jobs(services: Services) -> int:
    with services.database.transaction(EVERYTHING) as session:
        return int(session.connection().exec_driver_sql("SELECT count(*) FROM jobs").scalar_one())


@pytest.mark.faults
def test_fault_f14_job_submitted_twice(services: Services, as_ada: Headers) -> None:
    with TestClient(create_app(services), raise_server_exceptions=False) as client:
        keyed = {**as_ada, "Idempotency-Key": "one"}
        first, second = (client.post(JOBS, headers=keyed, json=BODY) for _ in range(2))
        assert first.status_code == second.status_code == 201
        assert first.json() == second.json()
        assert second.headers["Idempotency-Replayed"] == "true"
        other = client.post(JOBS, headers=keyed, json={**BODY, "priority": 3})
        assert (other.status_code, other.json()["code"]) == (422, "key_reused")
        assert count_jobs(services) == 1

        keyed = {**as_ada, "Idempotency-Key": "twenty"}
        with ThreadPoolExecutor(20) as pool:
            answers = list(
                pool.map(lambda _: until_answered(lambda: client.post(JOBS, headers=keyed, json=BODY)), range(20))
            )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert count_jobs(services) == 2


def until_answered(post: Callable[[], httpx.Response]) -> httpx.Response:
    """What a client does that is told 409 `in_flight`: ask again."""
    while (answer := post()).status_code == 409:
        assert answer.json()["code"] == "in_flight"
        assert answer.headers["Retry-After"] == "1"
        time.sleep(0.02)
    return answer
