"""The audit trail: who did what, and whether the chain over it holds."""

from collections.abc import Iterator, Sequence

from carrara.contracts.audit import AuditHead, AuditRecordView, VerifyAudit, VerifyView
from carrara.sdk.transport import Transport


class Audit:
    """The acts in one project."""

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self._path = f"{path}/audit"

    def records(
        self, *, limit: int | None = None, subject_kind: str | None = None, subject_id: str | None = None
    ) -> Iterator[AuditRecordView]:
        """Newest first; with both `subject_kind` and `subject_id`, those on one thing."""
        return self._transport.pages(
            self._path, AuditRecordView, limit=limit, subject_kind=subject_kind, subject_id=subject_id
        )


def verify(transport: Transport, heads: Sequence[AuditHead] = ()) -> VerifyView:
    """The whole chain computed anew, against the heads that the caller kept."""
    return transport.write("POST", "/api/v1/audit/verify", VerifyView, body=VerifyAudit(heads=list(heads)))


def head(transport: Transport) -> AuditHead:
    """The end of the chain, to keep elsewhere."""
    return transport.get("/api/v1/audit/head", AuditHead)
