"""The database that the tests get is of the same kind as the one of `carrara up`."""

import pytest
from sqlalchemy import create_engine, text


@pytest.mark.parametrize("attempt", [1, 2])
def test_each_test_gets_its_own_migrated_database(database_url: str, attempt: int) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM alembic_version")) == 1
        assert connection.scalar(text("SELECT to_regclass('left_over')")) is None
        connection.execute(text("CREATE TABLE left_over (attempt integer)"))
    engine.dispose()


def test_the_role_of_our_processes_may_make_roles_and_is_no_superuser(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.connect() as connection:
        query = "SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        assert connection.execute(text(query)).one() == (False, True, False, False)
    engine.dispose()
