"""A PostgreSQL server for one program or one test run: made, started, asked for databases, stopped."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from carrara.embedded.children import spawn
from carrara.embedded.ports import free_port
from carrara.embedded.postgres_cluster import (
    ADMIN_ROLE,
    OWNER_ROLE,
    cluster_in,
    make_cluster,
    sqlalchemy_url,
    stop_leftovers,
)
from carrara.kernel.errors import Unavailable


class EmbeddedPostgres:
    """One server on loopback under `directory`. It ends when the thread that started it ends, or at `stop`."""

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
    ) -> None:
        self.port = port or free_port()
        self._directory = directory.resolve()
        self._settings = dict(settings or {}) | ({} if durable else {"fsync": "off", "full_page_writes": "off"})
        self._durable = durable
        self._cluster = cluster_in(self._directory, self._directory / "secrets")
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def admin_url(self) -> str:
        """For set-up only: this role is a superuser."""
        return sqlalchemy_url(ADMIN_ROLE, self._cluster.admin_password, self.port, "postgres")

    @property
    def url(self) -> str:
        """Our own role and database, as `carrara up` hands it to our processes."""
        return self.url_of(OWNER_ROLE)

    def url_of(self, database: str, *, role: str = OWNER_ROLE) -> str:
        password = {login.name: login.password for login in self._cluster.logins}[role]
        return sqlalchemy_url(role, password, self.port, database)

    def start(self, *, within_seconds: float = 60.0) -> None:
        """Returns when the server answers. Raises Unavailable with the end of its log if it does not."""
        if self._cluster.is_made:
            stop_leftovers(self._cluster)
        make_cluster(self._cluster, durable=self._durable)
        log_path = self._directory / "postgres.log"
        with log_path.open("ab") as log:
            self._server = spawn(
                self._cluster.argv(self.port, self._settings),
                environment=self._cluster.environment,
                output=log,
                account=self._cluster.places.account,
                death_signal=signal.SIGINT,
                directory=Path("/"),
            )
        deadline = time.monotonic() + within_seconds
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise Unavailable(f"PostgreSQL did not start:\n{_tail(log_path)}", log=str(log_path))
            time.sleep(0.02)

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, everything committed is on disk."""
        server, self._server = self._server, None
        if server is None or server.poll() is not None:
            return
        server.send_signal(signal.SIGINT)
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()

    def create_database(self, name: str, *, owner: str = OWNER_ROLE, template: str | None = None) -> str:
        """Makes a database, empty or as a copy of `template` (to which nobody may be connected); gives its URL."""
        statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(owner), sql.Identifier(template or "template1")
        )
        self._as_admin(statement)
        return self.url_of(name, role=owner)

    def drop_database(self, name: str) -> None:
        """Removes a database and whoever is connected to it."""
        self._as_admin(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _as_admin(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._admin_conninfo, autocommit=True) as connection:
            connection.execute(statement)

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self._admin_conninfo, connect_timeout=2):
            return True
        return False

    @property
    def _admin_conninfo(self) -> str:
        return self.admin_url.replace("+psycopg", "", 1)


def _tail(path: Path, lines: int = 10) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
