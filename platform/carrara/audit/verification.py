"""Does the chain hold? Names the first record that was edited, removed or exchanged, and counts the unsealed tail."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from carrara.audit import store
from carrara.audit.chain import GENESIS, Break, Fault, first_break
from carrara.audit.sealing import Head
from carrara.kernel.digests import Digest

_BATCH = 5000


@dataclass(frozen=True)
class VerifyReport:
    """`checked` records hold, up to `head`. `unsealed` are newer and not in the chain yet; `broken` is the first fault.
    `heads_checked`: how many heads from outside the database were compared."""

    checked: int
    head: Digest
    unsealed: int
    broken: Break | None
    heads_checked: int = 0

    @property
    def holds(self) -> bool:
        return self.broken is None


def verify(session: Session, heads: Iterable[Head] = ()) -> VerifyReport:
    """Computes the whole chain anew. Only `heads` kept elsewhere can show that records were cut off at the end
    together with their seals. The transaction must see all projects."""
    digest, position = GENESIS, 0
    broken: Break | None = None
    while broken is None:
        links = store.sealed_records(session, from_position=position + 1, limit=_BATCH)
        broken, digest, reached = first_break(links, before=digest, start=position + 1)
        if reached == position:
            break
        position = reached
    known = sorted(heads, key=lambda head: head.position)
    broken = broken or _against(session, known, position)
    return VerifyReport(position, digest, store.count_unsealed(session), broken, len(known))


def _against(session: Session, heads: list[Head], end: int) -> Break | None:
    for first in range(0, len(heads), _BATCH):
        batch = heads[first : first + _BATCH]
        seals = store.seals_at(session, [head.position for head in batch])
        for head in batch:
            if head.position > end:
                message = f"the chain once reached number {head.position} but ends at {end}: its end was cut off"
                return Break(end + 1, Fault.TRUNCATED, None, message)
            seal = seals.get(head.position)
            if seal is None or seal.digest != head.digest:
                message = f"up to number {head.position} this is not the chain whose head was kept outside the database"
                return Break(head.position, Fault.EDITED, seal.record_id if seal else None, message)
    return None
