"""Bringing a database to the schema of this code: one at a time, safe to run again after a kill."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

_LOCK_KEY = 0x0CA77A7A


def scripts_directory() -> Path:
    """Where the migrations are: in the checkout if we run from one, else inside the installed package."""
    checkout = Path(__file__).resolve().parents[3] / "migrations"
    return checkout if (checkout / "env.py").exists() else Path(__file__).resolve().parents[1] / "_migrations"


def upgrade(url: str, revision: str = "head") -> None:
    """Applies what is missing, in one transaction under an advisory lock: a second process waits for the first."""
    config = Config()
    config.set_main_option("script_location", str(scripts_directory()))
    config.attributes["url"] = url
    config.attributes["lock_key"] = _LOCK_KEY
    command.upgrade(config, revision)


def current_and_head(url: str) -> tuple[str | None, str | None]:
    """The revision that the database has and the one that this code wants."""
    config = Config()
    config.set_main_option("script_location", str(scripts_directory()))
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
    return current, ScriptDirectory.from_config(config).get_current_head()
