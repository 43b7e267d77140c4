"""One audit record for each state change, in the transaction that makes the change. Ids only, no feature data."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from carrara.audit.tables import AuditRecordRow


def record(
    session: Session,
    action: str,
    *,
    actor: tuple[UUID | None, str],
    subject: tuple[str, UUID | str],
    project_id: UUID | None,
    **details: Any,
) -> None:
    """Tells that `actor` (id and name; id None: a process of ours) did `action` (`endpoint.rolled_back`) to `subject`.

    If the insert fails, so does the caller's transaction: an act that cannot be recorded does not happen (F43).
    """
    kind, identity = subject
    session.add(
        AuditRecordRow(
            project_id=project_id,
            actor_id=actor[0],
            actor=actor[1],
            action=action,
            subject_kind=kind,
            subject_id=str(identity),
            details=details,
        )
    )
    session.flush()
