"""Who did what, and whether the chain over it holds."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from sqlalchemy.orm import Session

from carrara.access.policy import Permission
from carrara.api.call import Call, allowed
from carrara.audit import store
from carrara.audit.sealing import HEADS_FILE, Head, read_heads
from carrara.audit.verification import verify
from carrara.contracts import audit as wire
from carrara.contracts.wire import Page
from carrara.kernel.digests import Digest
from carrara.persistence.database import EVERYTHING, enter_scope

router = APIRouter(tags=["audit"])

Reader = Annotated[Call, Depends(allowed(Permission.READ))]
PlatformAdmin = Annotated[Call, Depends(allowed(Permission.MANAGE_PLATFORM))]


@router.get("/projects/{project}/audit")
def list_records(
    call: Reader,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    after: Annotated[int | None, Query(description="the last sequence seen")] = None,
    subject_kind: str | None = None,
    subject_id: str | None = None,
) -> Page[wire.AuditRecordView]:
    """The project's acts, newest first; with `subject_kind` and `subject_id` those on one thing."""
    subject = (subject_kind, subject_id) if subject_kind is not None and subject_id is not None else None

    def action(session: Session) -> Page[wire.AuditRecordView]:
        enter_scope(session, EVERYTHING)  # positions are in the chain, which no project's scope may read
        found = store.records_before(
            session, project_id=call.project.id, subject=subject, before=after, limit=limit + 1
        )
        views = [
            wire.AuditRecordView(
                id=record.id,
                sequence=record.sequence,
                position=position,
                at=record.at,
                actor=record.actor,
                action=record.action,
                subject_kind=record.subject_kind,
                subject_id=record.subject_id,
                details=dict(record.details),
            )
            for record, position in found[:limit]
        ]
        return Page(items=views, next=str(views[-1].sequence) if len(found) > limit else None)

    return call.read(action)


@router.get("/audit/head")
def head(call: PlatformAdmin) -> wire.AuditHead:
    """The end of the chain. Keep it somewhere else, and give it to `verify` later."""

    def action(session: Session) -> wire.AuditHead:
        enter_scope(session, EVERYTHING)
        seal = store.last_seal(session)
        return wire.AuditHead(position=seal.position, digest=seal.digest)

    return call.read(action)


@router.post("/audit/verify")
def verify_chain(call: PlatformAdmin, body: wire.VerifyAudit) -> wire.VerifyView:
    """Computes the whole chain anew and names the first record that does not hold."""

    def action(session: Session) -> wire.VerifyView:
        enter_scope(session, EVERYTHING)
        given = [Head(head.position, Digest(head.digest)) for head in body.heads]
        report = verify(session, [*given, *read_heads(call.services.settings.data_dir / HEADS_FILE)])
        broken = report.broken
        return wire.VerifyView(
            holds=report.holds,
            checked=report.checked,
            head=report.head,
            unsealed=report.unsealed,
            heads_checked=report.heads_checked,
            broken=wire.AuditBreak(
                position=broken.position,
                fault=broken.fault.value,
                record_id=broken.record_id,
                message=broken.message,
            )
            if broken
            else None,
        )

    return call.read(action)
