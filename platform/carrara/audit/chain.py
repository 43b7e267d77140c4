"""The chain over audit records: h_n = SHA-256(h_(n-1) || canonical JSON of record n). Pure.

A changed, removed or exchanged record breaks the link at its place and every one behind it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from carrara.kernel.digests import Digest, canonical_json, digest_bytes

GENESIS = Digest("sha256:" + "0" * 64)
"""What the first record is linked to."""


@dataclass(frozen=True)
class AuditRecord:
    """One act, as it was recorded. `details` hold ids and names, never data."""

    id: UUID
    sequence: int
    project_id: UUID | None
    at: datetime
    actor_id: UUID | None
    actor: str
    action: str
    subject_kind: str
    subject_id: str
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Seal:
    """The link of the record at `position`, counting from 1 in the order of sealing."""

    position: int
    record_id: UUID
    digest: Digest


class Fault(StrEnum):
    EDITED = "edited"
    MISSING = "missing"
    SEAL_MISSING = "seal_missing"
    TRUNCATED = "truncated"


@dataclass(frozen=True)
class Break:
    """The first place where the chain does not hold."""

    position: int
    fault: Fault
    record_id: UUID | None
    message: str


def link(before: Digest, record: AuditRecord) -> Digest:
    """The seal of a record that follows the one sealed with `before`."""
    return digest_bytes(before.encode() + canonical_json(_plain(record)))


def first_break(
    links: Iterator[tuple[Seal, AuditRecord | None]], *, before: Digest = GENESIS, start: int = 1
) -> tuple[Break | None, Digest, int]:
    """Walks seals in the order of their positions, each with its record. Gives the first break, the digest of the last
    good link and its position. `before` and `start`: where an earlier part ended."""
    position = start - 1
    for seal, record in links:
        expected = position + 1
        if seal.position != expected:
            message = f"seal {expected} is missing; the next one there is {seal.position}"
            return Break(expected, Fault.SEAL_MISSING, None, message), before, position
        if record is None:
            message = f"record {seal.record_id}, sealed as number {expected}, is missing"
            return Break(expected, Fault.MISSING, seal.record_id, message), before, position
        found = link(before, record)
        if found != seal.digest:
            message = (
                f"record {record.id} (number {expected}, {record.action!r} by {record.actor!r}) was edited or exchanged"
                " after it was sealed, or its seal was"
            )
            return Break(expected, Fault.EDITED, record.id, message), before, position
        before, position = found, expected
    return None, before, position


def _plain(record: AuditRecord) -> dict[str, Any]:
    return {
        "id": str(record.id),
        "sequence": record.sequence,
        "project_id": str(record.project_id) if record.project_id else None,
        "at": record.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor_id": str(record.actor_id) if record.actor_id else None,
        "actor": record.actor,
        "action": record.action,
        "subject_kind": record.subject_kind,
        "subject_id": record.subject_id,
        "details": record.details,
    }
