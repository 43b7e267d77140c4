"""Answers already given: a retried write with the same key gets the first answer, not a second effect."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Mapped, Session, mapped_column

from carrara.kernel.errors import Conflict, Invalid
from carrara.persistence.tables import Created, Row

_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:key, 0))")


_KEPT_DAYS = 7
_PRUNE = text(
    "DELETE FROM idempotency_keys WHERE ctid = ANY(ARRAY("
    " SELECT ctid FROM idempotency_keys WHERE created_at < now() - :days * interval '1 day' LIMIT :limit))"
)


class IdempotencyRow(Created, Row):
    __tablename__ = "idempotency_keys"

    actor_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_digest: Mapped[str]
    status: Mapped[int]
    answer: Mapped[str]


def earlier_answer(session: Session, actor_id: UUID, key: str, request_digest: str) -> tuple[int, str] | None:
    """The status and body first given under this key, or None; then `remember` must follow in this transaction.

    `Conflict(in_flight)` while a twin is being answered, `Invalid(key_reused)` if it came with another request.
    """
    if not session.execute(_LOCK, {"key": f"{actor_id}:{key}"}).scalar_one():
        raise Conflict("a request with this Idempotency-Key is being answered; ask again in a second", code="in_flight")
    row = session.get(IdempotencyRow, (actor_id, key))
    if row is None:
        return None
    if row.request_digest != request_digest:
        raise Invalid("this Idempotency-Key was used for another request; take a new key", code="key_reused")
    return row.status, row.answer


def remember(session: Session, actor_id: UUID, key: str, request_digest: str, answer: tuple[int, str]) -> None:
    """Keeps the answer, in the transaction of the write that it tells of."""
    status, body = answer
    session.add(IdempotencyRow(actor_id=actor_id, key=key, request_digest=request_digest, status=status, answer=body))


def forget_old(session: Session, *, limit: int = 1000) -> bool:
    """Forgets answers that are older than a week, at most `limit`; true if there may be more."""
    done = session.execute(_PRUNE, {"days": _KEPT_DAYS, "limit": limit})
    return bool(done.rowcount == limit)  # type: ignore[attr-defined]  # CursorResult of a DELETE
