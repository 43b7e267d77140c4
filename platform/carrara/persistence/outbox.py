"""Work that must follow a commit: written in its transaction, done by the controller at least once.

A handler must be safe to run twice: it looks for its own effect before it acts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from carrara.kernel.ids import uuid7
from carrara.persistence.database import EVERYTHING, Database, Scope
from carrara.persistence.tables import Created, ProjectOwned, Row, owned

_CLAIM = text(
    "UPDATE outbox SET attempts = attempts + 1, ready_at = now() + least(2 ^ attempts, 300) * interval '1 second'"
    " WHERE id = (SELECT id FROM outbox WHERE done_at IS NULL AND ready_at <= now()"
    "             ORDER BY ready_at LIMIT 1 FOR UPDATE SKIP LOCKED)"
    " RETURNING id, project_id, kind, payload, attempts"
)
_TELL = text("SELECT pg_notify(:channel, :id)")
OUTBOX_CHANNEL = "carrara_outbox"


class OutboxRow(Created, ProjectOwned, Row):
    __tablename__ = "outbox"
    __table_args__ = owned(
        "outbox",
        Index("ix_outbox_ready_at_open", "ready_at", postgresql_where=text("done_at IS NULL")),
    )

    kind: Mapped[str]
    payload: Mapped[dict[str, Any]]
    ready_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    attempts: Mapped[int] = mapped_column(default=0)
    done_at: Mapped[datetime | None]
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


def enqueue(session: Session, project_id: UUID, kind: str, payload: Mapping[str, Any]) -> UUID:
    """Promises, in the caller's transaction, that the handler of `kind` will run with `payload`."""
    row = OutboxRow(id=uuid7(), project_id=project_id, kind=kind, payload=dict(payload))
    session.add(row)
    session.flush()
    session.execute(_TELL, {"channel": OUTBOX_CHANNEL, "id": str(row.id)})
    return row.id


def deliver_next(database: Database, handlers: Mapping[str, Handler]) -> bool:
    """Handles one message that is due; False if there was none.

    A handler runs outside any transaction. If it raises, the message comes back after 2, 4, 8 ... 300 s with the
    reason kept in `error`; the exception is passed on for the log.
    """
    with database.transaction(EVERYTHING) as session:
        row = session.execute(_CLAIM).one_or_none()
    if row is None:
        return False
    message = Message(row.id, row.project_id, row.kind, row.payload, row.attempts)
    try:
        handlers[message.kind](message)
    except Exception as error:
        _note(database, message, "error = :error", error=f"{type(error).__name__}: {error}"[:2000])
        raise
    _note(database, message, "done_at = now(), error = NULL")
    return True


def _note(database: Database, message: Message, change: str, **values: Any) -> None:
    with database.transaction(Scope(project_id=message.project_id)) as session:
        session.execute(text(f"UPDATE outbox SET {change} WHERE id = :id"), {"id": message.id, **values})  # noqa: S608  # `change` is one of the two literals above
