"""Limits that the kernel keeps for a process by itself. Set before the uid is dropped; they only ever go down."""

import resource
from pathlib import Path

from carrara.sandbox.domain import Limits

_OPEN_FILES = 1024
_GRACE_CPU_SECONDS = 5


def apply_limits(limits: Limits, already_running: int) -> None:
    """Limits on processes, file size, open files, processor time and core dumps.

    `already_running` processes of the same uid are outside and count as well. The address space stays free: Arrow and
    ONNX Runtime reserve far more than they use, so memory is a control group's or the memory watch's to hold.
    """
    wanted = {
        resource.RLIMIT_NPROC: (limits.processes + already_running,) * 2,
        resource.RLIMIT_FSIZE: (limits.file_bytes,) * 2,
        resource.RLIMIT_NOFILE: (_OPEN_FILES,) * 2,
        resource.RLIMIT_CORE: (0, 0),
    }
    if limits.cpu_seconds is not None:
        wanted[resource.RLIMIT_CPU] = (limits.cpu_seconds, limits.cpu_seconds + _GRACE_CPU_SECONDS)
    for kind, pair in wanted.items():
        hard = resource.getrlimit(kind)[1]
        soft, new_hard = (value if hard == resource.RLIM_INFINITY else min(value, hard) for value in pair)
        resource.setrlimit(kind, (soft, new_hard))


def threads_of_uid(uid: int) -> int:
    """How many threads run under `uid` on this machine: RLIMIT_NPROC counts them all."""
    total = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if folder.stat().st_uid == uid:
                    total += sum(1 for _ in (folder / "task").iterdir())
            except OSError:  # it ended while we looked
                continue
    return total
