"""Deliveries on a real Postgres: held while they run, later after a failure, given up when they are poison."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from tests.support.people import make_actor, make_project

from carrara.access.domain import Project, UserKind
from carrara.kernel.errors import Unavailable
from carrara.persistence import outbox
from carrara.persistence.database import EVERYTHING, Database, Scope


@pytest.fixture
def project(database: Database) -> Project:
    return make_project(database, make_actor(database, "ada", UserKind.PERSON, is_platform_admin=True), "flights")


@pytest.fixture
def message(database: Database, project: Project) -> Any:
    with database.transaction(Scope(project.id)) as session:
        return outbox.enqueue(session, project.id, "kind", {"n": 1})


def row(database: Database) -> Any:
    query = text("SELECT *, extract(epoch FROM ready_at - now()) AS due_in FROM outbox")
    with database.transaction(EVERYTHING) as session:
        return session.execute(query).one()


def make_due(database: Database) -> None:
    with database.transaction(EVERYTHING) as session:
        session.execute(text("UPDATE outbox SET ready_at = now()"))


def fail(database: Database, error: Exception, given_up: outbox.GivenUp | None = None) -> None:
    def handler(_: outbox.Message) -> None:
        raise error

    make_due(database)
    with pytest.raises(type(error)):
        outbox.deliver_next(database, {"kind": handler}, given_up)


@pytest.mark.usefixtures("message")
def test_a_message_is_held_while_its_handler_runs(database: Database) -> None:
    seen: list[float] = []
    assert outbox.deliver_next(database, {"kind": lambda _: seen.append(row(database).due_in)})
    assert seen[0] > 500


@pytest.mark.usefixtures("message")
def test_the_pause_after_a_failure_begins_when_it_has_failed(database: Database) -> None:
    for expected in (2, 4, 8):
        fail(database, RuntimeError("slow"))
        assert expected - 1 < row(database).due_in <= expected


@pytest.mark.usefixtures("message")
def test_a_delivery_that_lost_its_message_notes_nothing(database: Database) -> None:
    def overtaken(_: outbox.Message) -> None:
        with database.transaction(EVERYTHING) as session:
            session.execute(text("UPDATE outbox SET attempts = attempts + 1"))

    assert outbox.deliver_next(database, {"kind": overtaken})
    assert row(database).done_at is None


@pytest.mark.usefixtures("message")
def test_poison_is_given_up_told_and_kept(database: Database) -> None:
    told: list[tuple[str, str]] = []

    def tell(_: Session, message: outbox.Message, reason: str) -> None:
        told.append((message.kind, reason))

    for _ in range(outbox.MAX_FAILURES + 5):
        fail(database, Unavailable("away"), tell)
    for _ in range(outbox.MAX_FAILURES - 1):
        fail(database, RuntimeError("bad\0"), tell)
    assert (row(database).failed_at, told) == (None, [])
    fail(database, RuntimeError("bad"), tell)
    assert row(database).failed_at is not None
    assert told == [("kind", "RuntimeError: bad")]
    make_due(database)
    assert not outbox.deliver_next(database, {})


@pytest.mark.usefixtures("message")
def test_a_new_leader_need_not_wait_for_what_the_old_one_held(database: Database) -> None:
    handled: list[int] = []

    def take_over(_: outbox.Message) -> None:
        outbox.release_claims(database)
        assert outbox.deliver_next(database, {"kind": lambda message: handled.append(message.attempts)})

    assert outbox.deliver_next(database, {"kind": take_over})
    assert handled == [2]
    assert row(database).done_at is not None
