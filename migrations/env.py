"""Alembic's entry: one transaction under an advisory lock, with a bounded wait for table locks."""

from alembic import context
from sqlalchemy import create_engine, pool, text

from carrara.bootstrap.schema import metadata

config = context.config


def run() -> None:
    engine = create_engine(config.attributes["url"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
        with context.begin_transaction():
            key = config.attributes.get("lock_key", 0)
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
            connection.execute(text("SET LOCAL lock_timeout = '30s'"))
            context.run_migrations()
    engine.dispose()


run()
