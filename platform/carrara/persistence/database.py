"""One transaction at the edge: who acts in which project is set inside it, messages leave after it."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from carrara.kernel.errors import Invalid, Unavailable

_AFTER_COMMIT = "carrara.after_commit"
_SET_SCOPE = text(
    "SELECT set_config('role', :role, true), set_config('carrara.project', :project, true),"
    " set_config('carrara.actor', :actor, true)"
)


class Role(StrEnum):
    """Database roles of a transaction. APP sees one project; CONTROLLER sees all, by a policy that names it."""

    APP = "carrara_app"
    CONTROLLER = "carrara_controller"


@dataclass(frozen=True)
class Scope:
    """What a transaction may see: row-level security compares every project-owned row with it."""

    project_id: UUID | None = None
    actor_id: UUID | None = None
    role: Role = Role.APP


EVERYTHING = Scope(role=Role.CONTROLLER)


class Database:
    """Connections to the one truth. Losing it raises `Unavailable`, never a driver's error.

    A value that a column cannot hold is `Invalid(bad_value)`: a net below the checks at the edges, which name places.
    """

    def __init__(self, url: str, *, pool_size: int = 10, statement_timeout_seconds: float = 30.0) -> None:
        options = f"-c statement_timeout={int(statement_timeout_seconds * 1000)} -c lock_timeout=10000 -c timezone=UTC"
        self.engine: Engine = create_engine(
            url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=5,
            pool_pre_ping=True,
            connect_args={"connect_timeout": 5, "options": options},
        )
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @contextlib.contextmanager
    def transaction(self, scope: Scope) -> Iterator[Session]:
        """A session that commits at the end of the block, or rolls back if the block raises."""
        session = self._sessions()
        try:
            with _as_unavailable():
                enter_scope(session, scope)
                yield session
                session.commit()
        finally:
            callbacks: list[Callable[[], None]] = session.info.pop(_AFTER_COMMIT, [])
            session.close()
        for callback in callbacks:
            callback()

    def close(self) -> None:
        self.engine.dispose()


def enter_scope(session: Session, scope: Scope) -> None:
    """Changes what the current transaction may see, until it ends. A worker does so once it has claimed a job."""
    session.execute(
        _SET_SCOPE,
        {
            "role": scope.role.value,
            "project": str(scope.project_id) if scope.project_id else "",
            "actor": str(scope.actor_id) if scope.actor_id else "",
        },
    )


def acting_user(session: Session) -> UUID:
    """Who acts in the current transaction; RuntimeError if it was begun without one."""
    found = session.execute(text("SELECT current_setting('carrara.actor', true)")).scalar_one()
    if not found:
        raise RuntimeError("this transaction has no actor in its scope")
    return UUID(found)


def after_commit(session: Session, callback: Callable[[], None]) -> None:
    """Runs `callback` once the edge's transaction has committed; never if it rolls back."""
    session.info.setdefault(_AFTER_COMMIT, []).append(callback)


@contextlib.contextmanager
def savepoint(session: Session) -> Iterator[None]:
    """A nested transaction. If it rolls back, the messages that it queued are forgotten with it."""
    queued: list[Any] = session.info.setdefault(_AFTER_COMMIT, [])
    before = len(queued)
    try:
        with session.begin_nested():
            yield
    except BaseException:
        del queued[before:]
        raise


@contextlib.contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable("every database connection is busy; try again", retry_after_seconds=1) from error
    except (OperationalError, InterfaceError) as error:
        raise Unavailable(f"the database did not answer: {_first_line(error)}") from error
    except DataError as error:
        raise Invalid(f"a value is not one that can be stored: {_first_line(error)}", code="bad_value") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise Unavailable(f"the connection to the database was lost: {_first_line(error)}") from error
        raise


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
