"""Sealing in the order of visibility, and a catalogue of tampering by a superuser (S10)."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from tests.support.postgres import PostgresServer

import carrara.bootstrap.schema  # noqa: F401  # every table, so that foreign keys resolve
from carrara.audit.chain import Fault
from carrara.audit.sealing import Head, Sealer, publish_head, read_heads
from carrara.audit.service import record
from carrara.audit.store import _unsealed
from carrara.audit.verification import VerifyReport, verify
from carrara.kernel.digests import Digest
from carrara.persistence.database import EVERYTHING, Database, Scope

Tamper = Callable[[str], None]


def _act(database: Database, count: int) -> None:
    for number in range(count):
        with database.transaction(Scope()) as session:
            record(
                session,
                "thing.changed",
                actor=(None, "test"),
                subject=("thing", str(number)),
                project_id=None,
                n=number,
            )


def _verify(database: Database, heads: list[Head] | None = None) -> VerifyReport:
    with database.transaction(EVERYTHING) as session:
        return verify(session, heads or [])


@pytest.fixture
def tamper(postgres_server: PostgresServer, database_url: str) -> Tamper:
    """Runs SQL as a superuser whose session ignores triggers."""
    name = database_url.rpartition("/")[2]
    url = postgres_server.admin_url.replace("+psycopg", "", 1).rpartition("/")[0] + f"/{name}"

    def run(statements: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(statements)

    return run


def test_chain_of_what_happened_verifies_and_counts_the_unsealed_tail(database: Database) -> None:
    _act(database, 5)
    assert _verify(database).unsealed == 5
    sealer = Sealer(database)
    assert sealer.seal() == 5
    _act(database, 2)
    report = _verify(database)
    assert (report.holds, report.checked, report.unsealed) == (True, 5, 2)
    assert sealer.seal() == 2
    assert _verify(database).checked == 7


def test_record_that_commits_late_is_sealed_behind_those_that_came_first(database: Database) -> None:
    sealer = Sealer(database)
    with database.transaction(Scope()) as slow:
        record(slow, "slow.act", actor=(None, "test"), subject=("thing", "slow"), project_id=None)
        _act(database, 3)
        assert sealer.seal() == 3
    assert sealer.seal() == 1
    report = _verify(database)
    assert (report.holds, report.checked, report.unsealed) == (True, 4, 0)


def test_application_may_neither_change_nor_read_the_chain(database: Database) -> None:
    _act(database, 1)
    Sealer(database).seal()
    for statement in (
        "UPDATE audit_records SET actor = 'eve'",
        "DELETE FROM audit_records",
        "TRUNCATE audit_records CASCADE",
        "SELECT * FROM audit_seals",
    ):
        with pytest.raises(ProgrammingError, match="permission denied"), database.transaction(Scope()) as session:
            session.execute(text(statement))


_AT_3 = "(SELECT record_id FROM audit_seals WHERE position = 3)"
_AT_5 = "(SELECT record_id FROM audit_seals WHERE position = 5)"
CATALOGUE: list[tuple[str, str, Fault, int]] = [
    ("edit", f"UPDATE audit_records SET actor = 'eve' WHERE id = {_AT_3}", Fault.EDITED, 3),
    ("edit details", f"UPDATE audit_records SET details = '{{}}' WHERE id = {_AT_3}", Fault.EDITED, 3),
    ("edit time", f"UPDATE audit_records SET at = at - interval '1 h' WHERE id = {_AT_3}", Fault.EDITED, 3),
    ("delete", f"DELETE FROM audit_records WHERE id = {_AT_3}", Fault.MISSING, 3),
    (
        "delete with its seal",
        f"DELETE FROM audit_records WHERE id = {_AT_3}; DELETE FROM audit_seals WHERE position = 3",
        Fault.SEAL_MISSING,
        3,
    ),
    (
        "delete the records of the tail",
        "DELETE FROM audit_records WHERE id IN (SELECT record_id FROM audit_seals WHERE position > 4)",
        Fault.MISSING,
        5,
    ),
    (
        "swap two records",
        f"WITH a AS (SELECT {_AT_3} AS x, {_AT_5} AS y) UPDATE audit_records r SET subject_id ="
        " (SELECT o.subject_id FROM audit_records o, a WHERE o.id = CASE r.id WHEN a.x THEN a.y ELSE a.x END)"
        f" WHERE r.id IN ({_AT_3}, {_AT_5})",
        Fault.EDITED,
        3,
    ),
    (
        "forge a seal",
        "UPDATE audit_seals SET digest = 'sha256:' || repeat('a', 64) WHERE position = 3",
        Fault.EDITED,
        3,
    ),
]


@pytest.mark.parametrize(("what", "statements", "fault", "position"), CATALOGUE, ids=[row[0] for row in CATALOGUE])
def test_tampering_is_named(
    database: Database, tamper: Tamper, what: str, statements: str, fault: Fault, position: int
) -> None:
    _act(database, 6)
    Sealer(database).seal()
    tamper(statements)
    broken = _verify(database).broken
    assert broken is not None, what
    assert (broken.fault, broken.position) == (fault, position)


def test_tail_cut_off_with_its_seals_is_named_by_a_head_kept_outside(
    database: Database, tamper: Tamper, tmp_path: Path
) -> None:
    heads = tmp_path / "heads.jsonl"
    sealer = Sealer(database)
    for _ in range(2):
        _act(database, 3)
        sealer.seal()
        publish_head(database, heads)
    assert [head.position for head in read_heads(heads)] == [3, 6]
    assert _verify(database, read_heads(heads)).holds

    tamper(
        "DELETE FROM audit_records WHERE id IN (SELECT record_id FROM audit_seals WHERE position > 4);"
        "DELETE FROM audit_seals WHERE position > 4"
    )
    assert _verify(database).holds, "inside the database nothing shows it"
    broken = _verify(database, read_heads(heads)).broken
    assert broken is not None
    assert (broken.fault, broken.position) == (Fault.TRUNCATED, 5)


def test_chain_that_was_computed_anew_is_not_the_one_whose_head_was_kept(
    database: Database, tamper: Tamper, tmp_path: Path
) -> None:
    heads = tmp_path / "heads.jsonl"
    _act(database, 4)
    Sealer(database).seal()
    publish_head(database, heads)
    tamper("UPDATE audit_records SET actor = 'eve'; DELETE FROM audit_seals")
    Sealer(database).seal()
    assert _verify(database).holds
    broken = _verify(database, read_heads(heads)).broken
    assert broken is not None
    assert broken.fault is Fault.EDITED


def test_head_file_with_a_line_cut_off_is_still_read_and_written(database: Database, tmp_path: Path) -> None:
    heads = tmp_path / "heads.jsonl"
    heads.write_text('{"position": 3, "digest": "sha256:aa"}\n{"positi')
    assert read_heads(heads) == [Head(3, Digest("sha256:aa"))]
    _act(database, 1)
    Sealer(database).seal()
    head = publish_head(database, heads)
    assert publish_head(database, heads) == head
    assert read_heads(heads) == [Head(3, Digest("sha256:aa")), head]


def test_a_look_at_what_is_new_reads_no_seals_of_old_records(database: Database) -> None:
    sealer = Sealer(database)
    with database.transaction(EVERYTHING) as session:
        for number in range(50):
            record(session, "a.b", actor=(None, "x"), subject=("s", str(number)), project_id=None)
    assert sealer.seal() == 50
    with database.transaction(EVERYTHING) as session:
        rows = session.execute(
            text("SELECT s.sequence, r.sequence FROM audit_seals s JOIN audit_records r ON r.id = s.record_id")
        ).all()
        assert len(rows) == 50
        assert all(sealed == recorded for sealed, recorded in rows)
        floor = max(sealed for sealed, _ in rows) - 10
        session.execute(text("SET LOCAL enable_seqscan = off"))
        query = str(
            _unsealed(floor).compile(dialect=session.get_bind().dialect, compile_kwargs={"literal_binds": True})
        )
        plan = "\n".join(row[0] for row in session.execute(text("EXPLAIN " + query)))
        assert "ix_audit_seals_sequence" in plan, plan
