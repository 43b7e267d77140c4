"""Every project-owned table, as the database tells: forced row-level security, nothing of another project's (S09)."""

from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from tests.support.deployments import FALLBACK, Town, make_town
from tests.support.fleet import make_fleet

from carrara.persistence.database import EVERYTHING, Database, Scope

_WITH_PROJECT = text(
    "SELECT c.relname AS name, c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced,"
    " (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies"
    " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
    " WHERE c.relkind IN ('r', 'p') AND a.attname = 'project_id' AND NOT a.attisdropped"
    " AND c.relnamespace = 'public'::regnamespace ORDER BY 1"
)


def _tables(session: Session) -> list[str]:
    return [row.name for row in session.execute(_WITH_PROJECT)]


def test_every_table_with_a_project_is_closed_to_other_projects(database: Database) -> None:
    with database.transaction(EVERYTHING) as session:
        rows = session.execute(_WITH_PROJECT).all()
    assert len(rows) >= 19
    open_ones = [row.name for row in rows if not (row.enabled and row.forced and row.policies >= 2)]
    assert open_ones == []


@pytest.fixture
def two_towns(database: Database) -> tuple[Town, Town]:
    """Two projects with something in as many tables as one walk fills; the rest is filled by SQL."""
    towns = make_town(database, "mine"), make_town(database, "theirs")
    fleet = make_fleet(database)
    for town in towns:
        town.endpoint(fallback=FALLBACK)
        town.go_live(town.version(1), fleet)
    return towns


def test_no_scope_reads_or_writes_rows_of_another_project(database: Database, two_towns: tuple[Town, Town]) -> None:
    mine, theirs = two_towns
    with database.transaction(EVERYTHING) as session:
        tables = _tables(session)
        filled = [name for name in tables if _count(session, name, theirs.project.id)]
    assert {"endpoints", "approvals", "rollouts", "ledger_entries", "releases", "audit_records"} <= set(filled)
    scope = Scope(mine.project.id, mine.bob.id)
    for name in tables:
        with database.transaction(scope) as session:
            assert _count(session, name, theirs.project.id) == 0, f"{name} is read across projects"
        if name in ("approvals", "audit_records", "ledger_entries", "versions"):
            continue  # the application may not change or delete these at all: test_privileges, the audit and walk tests
        with database.transaction(scope) as session:
            changed = session.execute(
                text(f"UPDATE {name} SET project_id = project_id WHERE project_id = :p"), {"p": theirs.project.id}
            )
            deleted = session.execute(text(f"DELETE FROM {name} WHERE project_id = :p"), {"p": theirs.project.id})
            assert (changed.rowcount, deleted.rowcount) == (0, 0), f"{name} is written across projects"


def test_no_scope_inserts_rows_into_another_project(database: Database, two_towns: tuple[Town, Town]) -> None:
    mine, theirs = two_towns
    with database.transaction(EVERYTHING) as session:
        tables = [name for name in _tables(session) if _count(session, name, mine.project.id)]
    for name in tables:
        copy = text(
            f"INSERT INTO {name} OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(t,"
            " jsonb_build_object('project_id', CAST(:p AS text)))).* FROM"
            f" {name} t WHERE project_id = :mine LIMIT 1"
        )
        with (
            pytest.raises(DBAPIError, match="row-level security policy"),
            database.transaction(Scope(mine.project.id, mine.bob.id)) as session,
        ):
            session.execute(copy, {"p": str(theirs.project.id), "mine": mine.project.id})


def test_without_a_scope_nothing_is_there(database: Database, two_towns: tuple[Town, Town]) -> None:
    mine, _ = two_towns
    with database.transaction(Scope()) as session:
        for name in _tables(session):
            assert _count(session, name, mine.project.id) == 0, name


def _count(session: Session, table: str, project_id: UUID) -> int:
    found = session.execute(text(f"SELECT count(*) FROM {table} WHERE project_id = :p"), {"p": project_id})
    return found.scalar_one()
