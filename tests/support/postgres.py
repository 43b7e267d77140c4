"""One PostgreSQL server for a whole test run, however many pytest workers it has.

The first worker that asks starts a keeper process, which owns the server and watches the process that runs the tests;
when that ends, however it ends, the keeper stops the server and removes its files.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from carrara.embedded.postgres import EmbeddedPostgres
from carrara.embedded.postgres_cluster import OWNER_ROLE
from carrara.persistence.migrations import upgrade

_TEMPLATE = "carrara_template"


@dataclass(frozen=True)
class PostgresServer:
    """A running server: how to get an empty or a migrated database on it, owned by the role of `carrara up`."""

    admin_url: str
    owner_url: str
    template: str

    @contextmanager
    def database(self, *, migrated: bool = True) -> Iterator[str]:
        """The URL of a fresh database, gone after the block."""
        name = f"test_{uuid.uuid4().hex[:16]}"
        self._as_admin(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                sql.Identifier(name),
                sql.Identifier(OWNER_ROLE),
                sql.Identifier(self.template if migrated else "template1"),
            )
        )
        try:
            yield f"{self.owner_url.rpartition('/')[0]}/{name}"
        finally:
            self._as_admin(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _as_admin(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.admin_url.replace("+psycopg", "", 1), autocommit=True) as connection:
            connection.execute(statement)


def shared_server(shared: Path, tests_pid: int) -> PostgresServer:
    """The server of this test run; `shared` is a folder that all its workers see."""
    told = shared / "postgres.json"
    with (shared / "postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            _start_keeper(told, tests_pid, shared / "postgres-keeper.log")
    return PostgresServer(**json.loads(told.read_text()))


def _start_keeper(told: Path, tests_pid: int, log_path: Path) -> None:
    with log_path.open("w") as log:
        keeper = subprocess.Popen(
            [sys.executable, __file__, str(told), str(tests_pid)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + 120
    while not told.exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the test database did not start:\n{log_path.read_text()}")
        time.sleep(0.05)
    keeper.returncode = 0  # it outlives us on purpose: no ResourceWarning


def _keep(told: Path, tests_pid: int) -> None:
    tests = psutil.Process(tests_pid)
    home = Path(tempfile.mkdtemp(prefix="carrara-tests-postgres-"))
    home.chmod(0o711)  # pytest's own folder is closed to the account that the server runs as
    try:
        with EmbeddedPostgres(home, durable=False, settings={"max_connections": "300"}) as server:
            upgrade(server.create_database(_TEMPLATE))
            answer = {"admin_url": server.admin_url, "owner_url": server.url, "template": _TEMPLATE}
            draft = told.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps(answer))
            draft.rename(told)
            tests.wait()
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    _keep(Path(sys.argv[1]), int(sys.argv[2]))
