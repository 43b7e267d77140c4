"""Killed right after a durable step: what was committed stands, the rest is done once by whoever comes next."""

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.support.deployments import FALLBACK, Town, make_town
from tests.support.fleet import Fleet, make_fleet
from tests.support.object_store import free_port
from tests.support.own_process import OwnProcess, Starter, starter
from tests.support.people import make_token
from tests.support.rivals import promote_and_die
from tests.support.waiting import eventually

from carrara.audit.verification import verify
from carrara.deployments import history_store
from carrara.deployments.ledger import faults
from carrara.persistence.database import EVERYTHING, Database

pytestmark = pytest.mark.faults


@pytest.fixture
def town(database: Database) -> Town:
    return make_town(database)


@pytest.fixture
def fleet(database: Database) -> Fleet:
    return make_fleet(database)


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Iterator[Starter]:
    with starter(database_url, tmp_path) as start:
        yield start


def _is_live(town: Town, fleet: Fleet, version: int) -> bool:
    fleet.report()
    view = town.look()
    return view.rollout is None and view.current is not None and view.current.version == version


def _check_promises(town: Town) -> None:
    """I3, I4 and I7 for the endpoint."""
    assert faults(town.read(history_store.ledger_of)) == []
    assert town.look().status.state == "serving"

    def sealed() -> bool:
        with town.database.transaction(EVERYTHING) as session:
            report = verify(session)
        assert report.broken is None
        return report.unsealed == 0

    eventually(sealed, within_seconds=20, what="the audit chain is sealed to its end")


@pytest.mark.parametrize("place", ["rollout.rehearsing", "rollout.switched", "rollout.confirmed", "audit.sealed"])
def test_controller_killed_in_a_rollout_is_followed_by_one_that_ends_it(
    town: Town, fleet: Fleet, start: Starter, place: str
) -> None:
    v1, v2 = town.version(1), town.version(2)
    town.endpoint(fallback=FALLBACK)
    town.go_live(v1, fleet)
    town.decide(v2)
    town.promote(v2)
    doomed = start("controller", crashpoint=place)

    def has_died() -> bool:
        fleet.report()
        return doomed.has_ended

    eventually(has_died, within_seconds=60, what=f"it dies at {place}")
    assert doomed.process.returncode == -signal.SIGKILL
    start("controller")
    eventually(lambda: _is_live(town, fleet, 2), within_seconds=60, what="v2 is confirmed")
    assert [entry.release.version for entry in town.history()] == [2, 1]
    _check_promises(town)


def test_controller_killed_when_a_rollout_failed_does_not_start_it_again(
    town: Town, fleet: Fleet, start: Starter
) -> None:
    v1, v2 = town.version(1), town.version(2)
    town.endpoint(fallback=FALLBACK)
    town.go_live(v1, fleet)
    town.decide(v2)
    town.promote(v2)
    fleet.processes[0].broken = {v2: "out of memory"}
    fleet.report()
    doomed = start("controller", crashpoint="rollout.ended")
    eventually(lambda: doomed.has_ended, within_seconds=60, what="it dies at rollout.ended")
    start("controller")
    eventually(lambda: _is_live(town, fleet, 1), within_seconds=60, what="v1 answers as before")
    assert [entry.release.version for entry in town.history()] == [1]
    _check_promises(town)


def test_promotion_killed_after_its_commit_goes_on(town: Town, fleet: Fleet, start: Starter, database_url: str) -> None:
    v1 = town.version(1)
    town.endpoint(fallback=FALLBACK)
    town.decide(v1)
    assert promote_and_die(town, database_url, v1) == -signal.SIGKILL
    start("controller")
    eventually(lambda: _is_live(town, fleet, 1), within_seconds=60, what="v1 is confirmed")
    _check_promises(town)


def test_rollback_whose_answer_was_lost_happened_once(town: Town, fleet: Fleet, start: Starter) -> None:
    """I8: killed between the commit and the answer; the retry with the same key tells that it was done."""
    town.endpoint(fallback=FALLBACK)
    town.go_live(town.version(1), fleet)
    town.go_live(town.version(2), fleet)
    headers = {"Authorization": f"Bearer {make_token(town.database, town.cyd)}", "Idempotency-Key": "the one"}
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"

    def ask() -> httpx.Response:
        path = f"{url}/api/v1/projects/{town.project.name}/endpoints/arrivals/rollback"
        return httpx.post(path, json={"reason": "wrong"}, headers=headers, timeout=30)

    doomed = _platform(start, port, crashpoint="rollback.committed")
    with pytest.raises(httpx.TransportError):
        ask()
    assert doomed.process.wait(timeout=10) == -signal.SIGKILL
    _platform(start, port)
    answer = ask()
    assert (answer.status_code, answer.headers["idempotency-replayed"]) == (200, "true")
    assert [entry.kind for entry in town.history()] == ["rollback", "promotion", "promotion"]
    start("controller")
    eventually(lambda: _is_live(town, fleet, 1), within_seconds=30, what="v1 answers again")
    _check_promises(town)


def _platform(start: Starter, port: str, *, crashpoint: str = "") -> OwnProcess:
    process = start("platform", crashpoint=crashpoint, platform_port=port)

    def answers() -> bool:
        assert not process.has_ended, process.log
        try:
            return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    eventually(answers, within_seconds=60, what="the platform answers")
    return process
