"""The real controller process: it leads, stands by, loses the database, and ends."""

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from tests.support.deployments import FALLBACK, Town
from tests.support.fleet import Fleet
from tests.support.own_process import OwnProcess, Starter, starter
from tests.support.postgres import PostgresServer
from tests.support.waiting import eventually

from carrara.audit.sealing import HEADS_FILE, read_heads
from carrara.audit.verification import verify
from carrara.persistence.database import EVERYTHING

_LEADS = "this controller leads"


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Iterator[Starter]:
    with starter(database_url, tmp_path) as start:
        yield start


def _leads(controller: OwnProcess) -> bool:
    return _LEADS in controller.log


def _holds(town: Town, records: int) -> bool:
    with town.database.transaction(EVERYTHING) as session:
        report = verify(session)
    return report.holds and report.unsealed == 0 and report.checked >= records


def test_it_advances_rollouts_seals_and_ends_at_sigterm(
    town: Town, fleet: Fleet, start: Starter, tmp_path: Path
) -> None:
    v1 = town.version(1)
    town.endpoint(fallback=FALLBACK)
    controller = start("controller")
    eventually(lambda: _leads(controller), within_seconds=60, what="it leads")
    town.decide(v1)
    town.promote(v1)

    def is_live() -> bool:
        fleet.report()
        return town.look().status.state == "serving" and town.look().rollout is None

    eventually(is_live, within_seconds=30, what="the rollout is confirmed")
    eventually(lambda: _holds(town, 8), within_seconds=10, what="every record is sealed")
    eventually(lambda: read_heads(tmp_path / HEADS_FILE), within_seconds=60, what="the head is kept outside")
    loaded = psutil.Process(controller.process.pid).memory_maps()
    heavy = [found.path for found in loaded if any(name in found.path for name in ("/pandas/", "/sklearn/", "pyarrow"))]
    assert heavy == []

    controller.process.send_signal(signal.SIGTERM)
    assert controller.process.wait(timeout=20) == 0  # 2 s here; the rest is for a busy machine
    assert "Traceback" not in controller.log


def test_second_controller_stands_by_and_takes_over(town: Town, start: Starter) -> None:
    first = start("controller")
    eventually(lambda: _leads(first), within_seconds=60, what="the first leads")
    second = start("controller")
    eventually(lambda: _connections(town) >= 2, within_seconds=60, what="the second asks for the lock")
    assert not _leads(second)
    first.process.kill()
    eventually(lambda: _leads(second), within_seconds=30, what="the second takes over")
    town.endpoint()
    eventually(lambda: _holds(town, 1), within_seconds=10, what="the second seals")


def test_it_stops_acting_when_it_loses_the_database_and_comes_back(
    town: Town, start: Starter, postgres_server: PostgresServer, database_url: str
) -> None:
    controller = start("controller")
    eventually(lambda: _leads(controller), within_seconds=60, what="it leads")
    name = database_url.rpartition("/")[2]
    with psycopg.connect(postgres_server.admin_url.replace("+psycopg", "", 1), autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        eventually(lambda: "no longer leads" in controller.log, within_seconds=15, what="it stops acting")
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    eventually(lambda: controller.log.count(_LEADS) == 2, within_seconds=60, what="it leads again")
    town.endpoint()
    eventually(lambda: _holds(town, 1), within_seconds=10, what="it seals again")


def _connections(town: Town) -> int:
    with town.database.transaction(EVERYTHING) as session:
        found = session.connection().exec_driver_sql(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'carrara-controller-leader'"
            " AND datname = current_database()"
        )
        return int(found.scalar_one())
