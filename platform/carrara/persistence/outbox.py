"""Work that must follow a commit: written in its transaction, done by the controller at least once.

A handler must be safe to run twice: it looks for its own effect before it acts. A delivery holds its message for ten
minutes, and its `attempts` fences what it notes: a delivery that took longer notes nothing.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from carrara.kernel.errors import Unavailable
from carrara.kernel.ids import uuid7
from carrara.persistence.database import EVERYTHING, Database, Scope
from carrara.persistence.tables import Created, ProjectOwned, Row, owned

MAX_FAILURES = 10
"""So many failures that are not `Unavailable` make a message a poison one: it is kept, and tried no more."""

_OPEN = "done_at IS NULL AND failed_at IS NULL"
_CLAIM = text(
    "UPDATE outbox SET attempts = attempts + 1, ready_at = now() + interval '10 minutes'"  # noqa: S608  # constants only
    f" WHERE id = (SELECT id FROM outbox WHERE {_OPEN} AND ready_at <= now()"
    "             ORDER BY ready_at LIMIT 1 FOR UPDATE SKIP LOCKED)"
    " RETURNING id, project_id, kind, payload, attempts"
)
_FENCE = f" WHERE id = :id AND attempts = :attempts AND {_OPEN}"
_DONE = text("UPDATE outbox SET done_at = now(), error = NULL" + _FENCE)  # noqa: S608  # constants only
_FAILED = text(
    "UPDATE outbox SET error = :error, failures = failures + :counts,"  # noqa: S608  # constants only
    " ready_at = now() + least(2 ^ least(attempts, 10), 300) * interval '1 second',"
    f" failed_at = CASE WHEN failures + :counts >= :most THEN now() END{_FENCE} RETURNING failed_at IS NOT NULL"
)
_RELEASE = text(f"UPDATE outbox SET ready_at = now() WHERE {_OPEN} AND ready_at > now()")  # noqa: S608  # constants only
_TELL = text("SELECT pg_notify(:channel, :id)")
OUTBOX_CHANNEL = "carrara_outbox"
_log = logging.getLogger(__name__)


class OutboxRow(Created, ProjectOwned, Row):
    __tablename__ = "outbox"
    __table_args__ = owned(
        "outbox",
        Index("ix_outbox_ready_at_open", "ready_at", postgresql_where=text(_OPEN)),
        Index("ix_outbox_job_not_done", text("(payload ->> 'job_id')"), postgresql_where=text("done_at IS NULL")),
    )

    kind: Mapped[str]
    payload: Mapped[dict[str, Any]]
    ready_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    attempts: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    done_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    error: Mapped[str | None]


@dataclass(frozen=True)
class Message:
    """One piece of follow-up work. `attempts` counts this one."""

    id: UUID
    project_id: UUID
    kind: str
    payload: Mapping[str, Any]
    attempts: int


Handler = Callable[[Message], None]
GivenUp = Callable[[Session, Message, str], None]
"""Told of a poison message and its last failure, in the transaction that marks it."""


def enqueue(session: Session, project_id: UUID, kind: str, payload: Mapping[str, Any]) -> UUID:
    """Promises, in the caller's transaction, that the handler of `kind` will run with `payload`."""
    row = OutboxRow(id=uuid7(), project_id=project_id, kind=kind, payload=dict(payload))
    session.add(row)
    session.flush()
    session.execute(_TELL, {"channel": OUTBOX_CHANNEL, "id": str(row.id)})
    return row.id


def deliver_next(database: Database, handlers: Mapping[str, Handler], given_up: GivenUp | None = None) -> bool:
    """Handles one message that is due; False if there was none.

    A handler runs outside any transaction. If it raises, the message comes back 2, 4, 8 ... 300 s after that with the
    reason kept in `error`, or never once it has failed `MAX_FAILURES` times; the exception is passed on for the log.
    """
    with database.transaction(EVERYTHING) as session:
        row = session.execute(_CLAIM).one_or_none()
    if row is None:
        return False
    message = Message(row.id, row.project_id, row.kind, row.payload, row.attempts)
    try:
        handlers[message.kind](message)
    except Exception as error:
        _note_failure(database, message, error, given_up)
        raise
    with database.transaction(Scope(project_id=message.project_id)) as session:
        session.execute(_DONE, {"id": message.id, "attempts": message.attempts})
    return True


def release_claims(database: Database) -> None:
    """Makes every open message due now. For a controller that begins to lead: whoever held them leads no more."""
    with database.transaction(EVERYTHING) as session:
        session.execute(_RELEASE)


def _note_failure(database: Database, message: Message, error: Exception, given_up: GivenUp | None) -> None:
    reason = f"{type(error).__name__}: {error}"[:2000].replace("\0", "\\0")
    values = {
        "id": message.id,
        "attempts": message.attempts,
        "error": reason,
        "counts": 0 if isinstance(error, Unavailable) else 1,
        "most": MAX_FAILURES,
    }
    with database.transaction(Scope(project_id=message.project_id)) as session:
        is_poison = bool(session.execute(_FAILED, values).scalar_one_or_none())
        if is_poison and given_up is not None:
            given_up(session, message, reason)
    if is_poison:
        _log.error("message %s (%s) failed %d times; given up: %s", message.id, message.kind, MAX_FAILURES, reason)
