"""What the application's own database role may not do, whatever SQL it is made to run (S07, S22)."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from tests.support.people import make_actor, make_project

from carrara.access.domain import Actor
from carrara.persistence.database import Database, Scope

FORBIDDEN = [
    "UPDATE versions SET author_id = gen_random_uuid()",
    "UPDATE projects SET tier = 4",
    "UPDATE users SET is_platform_admin = true",
    "UPDATE api_tokens SET expires_at = now() + interval '1 year'",
    "UPDATE api_tokens SET user_id = gen_random_uuid()",
    "UPDATE approvals SET is_self_approval = false",
    "UPDATE approvals SET evaluation_digest = ''",
    "DELETE FROM approvals",
    "DELETE FROM users",
    "DELETE FROM versions",
    "UPDATE audit_records SET actor = 'nobody'",
    "DELETE FROM ledger_entries",
    "SELECT * FROM audit_seals",
    "TRUNCATE projects",
]


@pytest.fixture
def ada(database: Database) -> Actor:
    return make_actor(database, "ada", is_platform_admin=True)


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_the_application_may_not(database: Database, ada: Actor, statement: str) -> None:
    project = make_project(database, ada, "flights")
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        database.transaction(Scope(project.id, ada.id)) as session,
    ):
        session.execute(text(statement))


def test_nobody_makes_himself_a_member_from_outside(database: Database, ada: Actor) -> None:
    project = make_project(database, ada, "flights")
    eve = make_actor(database, "eve")
    join = text("INSERT INTO memberships (project_id, user_id, role) VALUES (:project, :user, 'admin')")
    with (
        pytest.raises(ProgrammingError, match="row-level security"),
        database.transaction(Scope(None, eve.id)) as session,
    ):
        session.execute(join, {"project": project.id, "user": eve.id})
