"""Sealing the records that have committed, within a second, in the order in which they became visible."""

import json
import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from carrara.audit import store
from carrara.audit.chain import Seal, link
from carrara.kernel.crashpoint import crashpoint
from carrara.kernel.digests import Digest
from carrara.persistence.database import EVERYTHING, Database

_BATCH = 1000
_WINDOW = 10_000
_FULL_LOOK_EVERY = 1200
_TAIL_BYTES = 4096
HEADS_FILE = "audit-heads.jsonl"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Head:
    """The end of the chain at some moment, kept outside the database: proof that it was once that long."""

    position: int
    digest: Digest


class Sealer:
    """Seals what is new. A long transaction may commit a record with an old sequence: so it looks back 10,000 records
    each time, and at all of them at its start and once in a while."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._newest = 0
        self._rounds = 0

    def seal(self) -> int:
        """Seals everything that is visible, in one transaction for each thousand. Gives how many records."""
        floor = 0 if self._rounds % _FULL_LOOK_EVERY == 0 else max(self._newest - _WINDOW, 0)
        self._rounds += 1
        total = 0
        while True:
            sealed = self._seal_batch(floor)
            total += sealed
            if sealed < _BATCH:
                return total

    def _seal_batch(self, floor: int) -> int:
        with self._database.transaction(EVERYTHING) as session:
            store.lock_sealing(session)
            records = store.unsealed(session, after_sequence=floor, limit=_BATCH)
            if not records:
                return 0
            last = store.last_seal(session)
            seals = []
            for record in records:
                last = Seal(last.position + 1, record.id, link(last.digest, record))
                seals.append((last, record))
            store.add_seals(session, seals)
        crashpoint("audit.sealed")
        self._newest = max(self._newest, records[-1].sequence)
        return len(records)


def publish_head(database: Database, path: Path) -> Head:
    """Adds the head of the chain to a file outside the database, if it has moved; gives it."""
    with database.transaction(EVERYTHING) as session:
        seal = store.last_seal(session)
    head = Head(seal.position, seal.digest)
    if not head.position or head == _newest_head(path):
        return head
    line = {"position": head.position, "digest": head.digest, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps(line) + "\n")  # first a line's end: a crash may have cut the last one off
        file.flush()
        os.fsync(file.fileno())
    return head


def read_heads(path: Path) -> list[Head]:
    """The heads in such a file, oldest first. A line that was cut off by a crash is left out."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", errors="replace") as file:
        return [head for line in file if line.strip() and (head := _head(line)) is not None]


def _newest_head(path: Path) -> Head | None:
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - _TAIL_BYTES, 0))
        lines = file.read().decode(errors="replace").splitlines()
    return next((head for line in reversed(lines) if (head := _head(line)) is not None), None)


def _head(line: str) -> Head | None:
    try:
        found = json.loads(line)
        return Head(int(found["position"]), Digest(found["digest"]))
    except (ValueError, KeyError, TypeError):
        _log.debug("a line that is not a head: %.80r", line)
        return None
