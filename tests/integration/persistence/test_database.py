"""Transactions, tenancy and messages on a real Postgres."""

import pytest
from sqlalchemy import text
from tests.support.people import make_actor, make_project

from carrara.access import service as access
from carrara.access.domain import Actor, Project, UserKind
from carrara.kernel.errors import Conflict, Invalid, Unavailable
from carrara.persistence import idempotency, outbox
from carrara.persistence.database import EVERYTHING, Database, Scope, after_commit, savepoint


@pytest.fixture
def actor(database: Database) -> Actor:
    return make_actor(database, "ada", UserKind.PERSON, is_platform_admin=True)


@pytest.fixture
def project(database: Database, actor: Actor) -> Project:
    return make_project(database, actor, "flights")


def count_outbox(database: Database, scope: Scope) -> int:
    with database.transaction(scope) as session:
        return int(session.execute(text("SELECT count(*) FROM outbox")).scalar_one())


def test_messages_leave_only_after_the_commit(database: Database) -> None:
    sent: list[str] = []
    with database.transaction(Scope()) as session:
        after_commit(session, lambda: sent.append("kept"))
        with pytest.raises(RuntimeError), savepoint(session):
            after_commit(session, lambda: sent.append("forgotten with its savepoint"))
            raise RuntimeError
        assert sent == []
    assert sent == ["kept"]
    with pytest.raises(RuntimeError), database.transaction(Scope()) as session:
        after_commit(session, lambda: sent.append("never"))
        raise RuntimeError
    assert sent == ["kept"]


def test_a_transaction_sees_only_its_project(database: Database, actor: Actor, project: Project) -> None:
    other = make_project(database, actor, "trains")
    with database.transaction(Scope(project.id)) as session:
        outbox.enqueue(session, project.id, "kind", {})
    assert count_outbox(database, Scope(project.id)) == 1
    assert count_outbox(database, Scope(other.id)) == 0
    assert count_outbox(database, Scope()) == 0
    assert count_outbox(database, EVERYTHING) == 1


def test_the_scope_ends_with_its_transaction(database: Database, actor: Actor, project: Project) -> None:
    with database.transaction(Scope(project.id)) as session:
        session.execute(text("SELECT 1"))
    with database.engine.connect() as connection:
        left = connection.execute(text("SELECT current_setting('carrara.project', true), current_user")).one()
    assert left[0] in (None, "")
    assert left[1] != "carrara_app"


def test_an_absent_database_is_unavailable_not_a_driver_error() -> None:
    away = Database("postgresql+psycopg://carrara:x@127.0.0.1:1/carrara")
    with pytest.raises(Unavailable, match="did not answer"), away.transaction(Scope()):
        pass
    away.close()


def test_an_outbox_message_comes_back_until_its_handler_succeeds(
    database: Database, actor: Actor, project: Project
) -> None:
    with database.transaction(Scope(project.id)) as session:
        outbox.enqueue(session, project.id, "kind", {"n": 1})
    handled: list[int] = []

    def failing(message: outbox.Message) -> None:
        raise Unavailable("away")

    with pytest.raises(Unavailable):
        outbox.deliver_next(database, {"kind": failing})
    assert not outbox.deliver_next(database, {"kind": failing}), "it waits before it comes back"
    with database.transaction(EVERYTHING) as session:
        reason = session.execute(text("UPDATE outbox SET ready_at = now() RETURNING error")).scalar_one()
    assert reason == "Unavailable: away"
    assert outbox.deliver_next(database, {"kind": lambda message: handled.append(message.attempts)})
    assert handled == [2]
    assert not outbox.deliver_next(database, {"kind": failing})


def test_an_idempotency_key_gives_the_first_answer_again(database: Database, actor: Actor) -> None:
    with database.transaction(Scope()) as session:
        assert idempotency.earlier_answer(session, actor.id, "k", "sha256:a") is None
        idempotency.remember(session, actor.id, "k", "sha256:a", (201, "1"))
    with database.transaction(Scope()) as session:
        assert idempotency.earlier_answer(session, actor.id, "k", "sha256:a") == (201, "1")
    with database.transaction(Scope()) as session, pytest.raises(Invalid) as reused:
        idempotency.earlier_answer(session, actor.id, "k", "sha256:b")
    assert reused.value.code == "key_reused"


def test_a_twin_in_flight_is_told_to_wait(database: Database, actor: Actor) -> None:
    with database.transaction(Scope()) as first:
        assert idempotency.earlier_answer(first, actor.id, "k", "sha256:a") is None
        with database.transaction(Scope()) as twin, pytest.raises(Conflict) as told:
            idempotency.earlier_answer(twin, actor.id, "k", "sha256:a")
    assert told.value.code == "in_flight"


def test_a_project_name_is_never_given_twice(database: Database, actor: Actor, project: Project) -> None:
    with database.transaction(Scope(actor_id=actor.id)) as session, pytest.raises(Conflict, match="never reused"):
        access.create_project(session, actor, "flights", tier=3)


def test_answers_are_forgotten_after_a_week(database: Database, actor: Actor) -> None:
    with database.transaction(Scope()) as session:
        for key in ("old", "older", "new"):
            idempotency.remember(session, actor.id, key, "sha256:a", (201, "1"))
        session.flush()
        session.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '8 days' WHERE key <> 'new'"))
    with database.transaction(EVERYTHING) as session:
        assert idempotency.forget_old(session, limit=1)
        assert idempotency.forget_old(session, limit=1)
        assert not idempotency.forget_old(session, limit=1)
        assert session.execute(text("SELECT key FROM idempotency_keys")).scalars().all() == ["new"]
