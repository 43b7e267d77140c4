"""The chain's arithmetic, and what breaks it."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from carrara.audit.chain import GENESIS, AuditRecord, Fault, Seal, first_break, link

AT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def _record(number: int) -> AuditRecord:
    return AuditRecord(
        id=UUID(int=number),
        sequence=number,
        project_id=None,
        at=AT,
        actor_id=None,
        actor="ada",
        action="endpoint.rolled_back",
        subject_kind="endpoint",
        subject_id="7",
        details={"b": 1, "a": "ü"},
    )


def _chain(length: int) -> list[tuple[Seal, AuditRecord | None]]:
    links: list[tuple[Seal, AuditRecord | None]] = []
    before = GENESIS
    for number in range(1, length + 1):
        record = _record(number)
        before = link(before, record)
        links.append((Seal(number, record.id, before), record))
    return links


def test_link_is_sha256_over_the_last_digest_and_the_canonical_record() -> None:
    written = (
        '{"action":"endpoint.rolled_back","actor":"ada","actor_id":null,"at":"2026-03-01T12:00:00.123456+00:00",'
        '"details":{"a":"ü","b":1},"id":"00000000-0000-0000-0000-000000000001","project_id":null,"sequence":1,'
        '"subject_id":"7","subject_kind":"endpoint"}'
    )
    expected = hashlib.sha256((GENESIS + written).encode()).hexdigest()
    assert link(GENESIS, _record(1)) == f"sha256:{expected}"


def test_whole_chain_holds_also_in_two_parts() -> None:
    links = _chain(6)
    broken, digest, position = first_break(iter(links[:3]))
    assert (broken, position) == (None, 3)
    broken, digest, position = first_break(iter(links[3:]), before=digest, start=4)
    assert (broken, digest, position) == (None, links[-1][0].digest, 6)


def _edit(links: list[tuple[Seal, AuditRecord | None]]) -> None:
    seal, record = links[2]
    assert record is not None
    links[2] = (seal, replace(record, actor="eve"))


def _remove(links: list[tuple[Seal, AuditRecord | None]]) -> None:
    links[2] = (links[2][0], None)


def _cut_seal(links: list[tuple[Seal, AuditRecord | None]]) -> None:
    del links[2]


def _swap(links: list[tuple[Seal, AuditRecord | None]]) -> None:
    (seal_a, a), (seal_b, b) = links[2], links[4]
    links[2], links[4] = (seal_a, b), (seal_b, a)


@pytest.mark.parametrize(
    ("tamper", "fault"),
    [(_edit, Fault.EDITED), (_remove, Fault.MISSING), (_cut_seal, Fault.SEAL_MISSING), (_swap, Fault.EDITED)],
)
def test_first_record_that_does_not_hold_is_named(tamper, fault: Fault) -> None:
    links = _chain(6)
    tamper(links)
    broken, _, good = first_break(iter(links))
    assert broken is not None
    assert (broken.position, broken.fault, good) == (3, fault, 2)
