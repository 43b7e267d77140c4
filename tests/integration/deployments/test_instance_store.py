"""Leases of serving processes, when reports and departures arrive in any order."""

from uuid import UUID

import pytest
from sqlalchemy import text

from carrara.contracts.routes import InstanceReport
from carrara.deployments.instance_store import end_lease, forget_silent, known_instances, renew_lease
from carrara.persistence.database import EVERYTHING, Database

BOOT = UUID(int=1)


def report(sequence: int, *, generation: int = 0) -> InstanceReport:
    return InstanceReport(
        instance="serving",
        index=0,
        boot_id=BOOT,
        sequence=sequence,
        generation=generation,
        releases=[],
        endpoints=[],
    )


def tell(database: Database, *reports: InstanceReport) -> None:
    for found in reports:
        with database.transaction(EVERYTHING) as session:
            renew_lease(session, found, lease_seconds=30.0)


def leave(database: Database) -> None:
    with database.transaction(EVERYTHING) as session:
        end_lease(session, BOOT)


def known(database: Database) -> list[int]:
    """The generations of the known processes."""
    with database.transaction(EVERYTHING) as session:
        return [found.generation for found in known_instances(session)]


@pytest.mark.parametrize("late", [1, 2])
def test_a_report_that_was_overtaken_changes_nothing(database: Database, late: int) -> None:
    tell(database, report(1, generation=-1), report(2, generation=0), report(late, generation=-1))

    assert known(database) == [0]


@pytest.mark.parametrize("before", [[], [report(1)]], ids=["which no report came before", "known"])
def test_a_process_that_left_is_not_brought_back_by_a_late_report(
    database: Database, before: list[InstanceReport]
) -> None:
    tell(database, *before)
    leave(database)
    tell(database, report(2))

    assert known(database) == []


def test_leaving_twice_is_leaving(database: Database) -> None:
    tell(database, report(1))
    leave(database)
    leave(database)

    assert known(database) == []


def test_those_who_left_are_forgotten_in_the_end(database: Database) -> None:
    tell(database, report(1))
    leave(database)
    with database.transaction(EVERYTHING) as session:
        assert forget_silent(session) == 0
        session.execute(text("UPDATE serving_instances SET lease_until = now() - interval '301 seconds'"))
        assert forget_silent(session) == 1
