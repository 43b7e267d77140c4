"""Memory of a child and all its processes, measured from outside, where no control group holds it."""

import os
from dataclasses import dataclass
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")
CLOSE_SECONDS = 0.02
CALM_SECONDS = 0.1


def descendants(pid: int) -> list[int]:
    """`pid` and every process below it, parents first. Those that end meanwhile are left out."""
    found, pending = [], [pid]
    while pending:
        current = pending.pop()
        found.append(current)
        pending += children_of(current)
    return found


def children_of(pid: int) -> list[int]:
    """The direct children of a process; none if it is gone."""
    try:
        tasks = list((_PROC / str(pid) / "task").iterdir())
    except OSError:
        return []
    children = []
    for task in tasks:
        try:
            children += [int(text) for text in (task / "children").read_text().split()]
        except OSError:
            continue
    return children


def resident_bytes(pid: int) -> int:
    """Resident set: quick to read, and never less than the proportional set. 0 if the process is gone."""
    try:
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0


def proportional_bytes(pid: int) -> int | None:
    """Proportional set size (PSS): shared pages count by the share. None if we may not look."""
    try:
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return 0


def unshared_resident_bytes(pid: int) -> int:
    """Resident set without files and shared memory: what is left where PSS cannot be read. Copied-on-write pages that
    are still the forkserver's count too, so it is never too low."""
    try:
        fields = (_PROC / str(pid) / "statm").read_text().split()
        return (int(fields[1]) - int(fields[2])) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0


def _held_bytes(pid: int) -> int:
    share = proportional_bytes(pid)
    return unshared_resident_bytes(pid) if share is None else share


@dataclass
class MemoryWatch:
    """Measures one child: all that is below `head`, without the first `wardens` processes, which are ours."""

    head: int
    wardens: int
    limit_bytes: int
    peak_bytes: int = 0
    _measured_at: int = 0

    def look(self) -> float:
        """Measures once; gives the seconds until the next look is due. Sum over all processes of the child."""
        pids = descendants(self.head)[self.wardens :]
        resident = sum(resident_bytes(pid) for pid in pids)
        grown = resident > self._measured_at + self._measured_at // 32
        if grown or resident > self.limit_bytes:
            self._measured_at = resident
            self.peak_bytes = max(self.peak_bytes, sum(_held_bytes(pid) for pid in pids))
        return CLOSE_SECONDS if resident > self.limit_bytes // 2 else CALM_SECONDS

    @property
    def is_over(self) -> bool:
        return self.peak_bytes > self.limit_bytes
