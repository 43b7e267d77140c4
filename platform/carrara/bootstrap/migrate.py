"""`carrara migrate`: brings the database to this code's schema and, on an empty one, makes the first admin."""

import logging
import os
from pathlib import Path

from carrara.access.service import make_first_admin
from carrara.kernel.config import Settings
from carrara.persistence.database import Database, Scope
from carrara.persistence.migrations import upgrade

TOKEN_FILE = "admin-token"  # noqa: S105  # the name of the file, not a secret
_log = logging.getLogger(__name__)


def main(settings: Settings) -> None:
    """Runs to the end and returns; safe to run again, and by two processes at once."""
    url = settings.required("database_url")
    upgrade(url)
    database = Database(url, pool_size=1)
    try:
        _admit_first_admin(database, settings.data_dir / TOKEN_FILE)
    finally:
        database.close()


def _admit_first_admin(database: Database, path: Path) -> None:
    """Writes the token before the commit: after a crash in between, the next run makes another and overwrites it."""
    with database.transaction(Scope()) as session:
        token = make_first_admin(session)
        if token is not None:
            _write_secret(path, token.secret)
            _log.info("the first admin's token is in %s", path)


def _write_secret(path: Path, secret: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
