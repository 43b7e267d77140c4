"""SQL of audit records and their seals."""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select, text
from sqlalchemy.orm import Session

from carrara.audit.chain import GENESIS, AuditRecord, Seal
from carrara.audit.tables import AuditRecordRow, AuditSealRow
from carrara.kernel.digests import Digest

_ONE_SEALER = text("SELECT pg_advisory_xact_lock(hashtextextended('carrara.audit.seal', 0))")


def lock_sealing(session: Session) -> None:
    """Only one transaction seals at a time, whatever else is true of who leads."""
    session.execute(_ONE_SEALER)


def last_seal(session: Session) -> Seal:
    """The end of the chain; before the first record, position 0 with the genesis digest."""
    row = session.scalars(select(AuditSealRow).order_by(AuditSealRow.position.desc()).limit(1)).one_or_none()
    return _seal(row) if row else Seal(0, UUID(int=0), GENESIS)


def seals_at(session: Session, positions: Sequence[int]) -> dict[int, Seal]:
    rows = session.scalars(select(AuditSealRow).where(AuditSealRow.position.in_(positions)))
    return {row.position: _seal(row) for row in rows}


def unsealed(session: Session, *, after_sequence: int, limit: int) -> list[AuditRecord]:
    """Committed records without a seal, with a sequence above `after_sequence`, in that order."""
    chosen = _unsealed(after_sequence).order_by(AuditRecordRow.sequence).limit(limit)
    return [_record(row) for row in session.scalars(chosen)]


def count_unsealed(session: Session) -> int:
    return session.execute(select(func.count()).select_from(_unsealed(0).subquery())).scalar_one()


def add_seals(session: Session, seals: Sequence[tuple[Seal, AuditRecord]]) -> None:
    """Keeps each seal, with the sequence of its record: what is not sealed is found without all of history."""
    session.add_all(
        AuditSealRow(position=seal.position, record_id=record.id, sequence=record.sequence, digest=seal.digest)
        for seal, record in seals
    )
    session.flush()
    session.expunge_all()


def sealed_records(session: Session, *, from_position: int, limit: int) -> Iterator[tuple[Seal, AuditRecord | None]]:
    """Seals in order, each with the record it names, or None if that is not there."""
    rows = session.execute(
        select(AuditSealRow, AuditRecordRow)
        .outerjoin(AuditRecordRow, AuditRecordRow.id == AuditSealRow.record_id)
        .where(AuditSealRow.position >= from_position)
        .order_by(AuditSealRow.position)
        .limit(limit)
    ).all()
    session.expunge_all()
    return ((_seal(seal), _record(record) if record else None) for seal, record in rows)


def records_before(
    session: Session,
    *,
    project_id: UUID | None,
    subject: tuple[str, str] | None,
    before: int | None,
    limit: int,
) -> list[tuple[AuditRecord, int | None]]:
    """Records newest first, each with its position in the chain, or None if it is not sealed yet."""
    chosen = select(AuditRecordRow, AuditSealRow.position).outerjoin(
        AuditSealRow, AuditSealRow.record_id == AuditRecordRow.id
    )
    if project_id is not None:
        chosen = chosen.where(AuditRecordRow.project_id == project_id)
    if subject is not None:
        chosen = chosen.where(AuditRecordRow.subject_kind == subject[0], AuditRecordRow.subject_id == subject[1])
    if before is not None:
        chosen = chosen.where(AuditRecordRow.sequence < before)
    rows = session.execute(chosen.order_by(AuditRecordRow.sequence.desc()).limit(limit))
    return [(_record(record), position) for record, position in rows]


def _unsealed(after_sequence: int) -> Select[Any]:
    has_seal = (
        select(AuditSealRow.record_id)
        .where(AuditSealRow.sequence == AuditRecordRow.sequence, AuditSealRow.sequence > after_sequence)
        .exists()
    )
    return select(AuditRecordRow).where(AuditRecordRow.sequence > after_sequence, ~has_seal)


def _seal(row: AuditSealRow) -> Seal:
    return Seal(row.position, row.record_id, Digest(row.digest))


def _record(row: Any) -> AuditRecord:
    return AuditRecord(
        id=row.id,
        sequence=row.sequence,
        project_id=row.project_id,
        at=row.at,
        actor_id=row.actor_id,
        actor=row.actor,
        action=row.action,
        subject_kind=row.subject_kind,
        subject_id=row.subject_id,
        details=row.details,
    )
