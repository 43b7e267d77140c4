"""Audit records and the verdict on their chain, on the wire."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from carrara.contracts.wire import Answer, Wire
from carrara.kernel.digests import DIGEST_PATTERN


class AuditHead(Wire):
    """The end of the chain at some moment. Keep it elsewhere: it proves later that nothing was cut off."""

    position: int = Field(ge=0)
    digest: str = Field(pattern=DIGEST_PATTERN)


class VerifyAudit(Wire):
    """Heads that the caller kept; those of the controller's own file are compared in any case."""

    heads: list[AuditHead] = Field([], max_length=1000)


class AuditBreak(Answer):
    """The first place where the chain does not hold."""

    position: int
    fault: Literal["edited", "missing", "seal_missing", "truncated"]
    record_id: UUID | None
    message: str


class VerifyView(Answer):
    """`checked` records hold, in order, up to `head`; `unsealed` are too new to be in the chain."""

    holds: bool
    checked: int
    head: str
    unsealed: int
    heads_checked: int
    broken: AuditBreak | None


class AuditRecordView(Answer):
    """One act. `position` in the chain is null until the controller has sealed it."""

    id: UUID
    sequence: int
    position: int | None
    at: datetime
    actor: str
    action: str
    subject_kind: str
    subject_id: str
    details: dict[str, Any]
