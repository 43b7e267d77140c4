"""A uid of its own for every child of a forkserver that runs as root."""

import contextlib
import random
import socket
from dataclasses import dataclass
from pathlib import Path

# Ranges that nothing else hands out (systemd, "Users, Groups, UIDs and GIDs on systemd Systems"). The small one is for
# containers that map 65536 uids only. 65534, under which PostgreSQL may run, is in neither.
_RANGES = (range(1_900_000_000, 2_000_000_000), range(60_578, 61_184))
_TRIES = 64


@dataclass
class OwnUid:
    """A uid that no other child on this machine has until `release`."""

    number: int
    _claim: socket.socket

    def release(self) -> None:
        self._claim.close()


def uid_range(uid_map: str | None = None) -> range | None:
    """The range to take from, by this user namespace's map (text of /proc/self/uid_map); None if neither is mapped."""
    text = Path("/proc/self/uid_map").read_text() if uid_map is None else uid_map
    mapped = [(int(fields[0]), int(fields[2])) for line in text.splitlines() if len(fields := line.split()) == 3]
    for candidate in _RANGES:
        for first, length in mapped:
            if first <= candidate.start and candidate.stop <= first + length:
                return candidate
    return None


def claim_uid(numbers: range, source: random.Random) -> OwnUid:
    """A free uid. OSError if none was found.

    The claim is an abstract socket's name: the kernel lets one process have it and frees it with the process, whichever
    forkserver that was.
    """
    for _ in range(_TRIES):
        number = source.choice(numbers)
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with contextlib.suppress(OSError):
            claim.bind(f"\0carrara-uid-{number}")
            return OwnUid(number, claim)
        claim.close()
    raise OSError(f"no free uid in {numbers.start} to {numbers.stop - 1} after {_TRIES} tries")
