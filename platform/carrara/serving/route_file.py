"""The last good route table on disk: a process that starts while the platform is away serves by it."""

import contextlib
import logging
import os
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, ValidationError

from carrara.contracts.routes import SCHEMA_VERSION, RouteTable
from carrara.contracts.wire import Answer
from carrara.kernel.ids import uuid7

log = logging.getLogger(__name__)

_MODE = 0o600  # it holds hashes of tokens


class SavedRoutes(Answer):
    """`confirmed_at`: when the platform last said that this table is the newest."""

    confirmed_at: AwareDatetime
    table: RouteTable


class RouteFile:
    """One file for all processes of an instance; each replaces it whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> SavedRoutes | None:
        """What was saved; None, and a line in the log, if it cannot be used."""
        try:
            saved = SavedRoutes.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            log.error("the saved route table %s cannot be used: %s", self._path, error)
            return None
        if saved.table.schema_version != SCHEMA_VERSION:
            log.error("the saved route table has schema %d; this is %d", saved.table.schema_version, SCHEMA_VERSION)
            return None
        return saved

    def write(self, table: RouteTable, confirmed_at: datetime) -> str | None:
        """Saves it; says why not if it cannot: a full disk must not stop predictions."""
        arriving = self._path.with_name(f".{self._path.name}-{uuid7()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(arriving, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
            with os.fdopen(descriptor, "wb") as file:
                file.write(SavedRoutes(confirmed_at=confirmed_at, table=table).model_dump_json().encode())
                file.flush()
                os.fsync(file.fileno())
            arriving.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                arriving.unlink(missing_ok=True)
            log.error("the route table could not be saved: %s", error)
            return str(error)
        return None
