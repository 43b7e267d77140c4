"""Measures what an attempt has written, in a thread of its own: a large tree must not keep its child waiting."""

import os
import stat
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

EVERY_SECONDS = 2.0
MAX_FILES = 1_000_000


class DiskWatch:
    """From `with` to its end, looks every few seconds how much is in the folders."""

    def __init__(self, folders: Iterable[Path], limit_bytes: int, *, every_seconds: float = EVERY_SECONDS) -> None:
        self._folders = tuple(folders)
        self._limit_bytes = limit_bytes
        self._every_seconds = every_seconds
        self._over = threading.Event()
        self._complaint: str | None = None
        self._thread = threading.Thread(target=self._run, name="disk-watch", daemon=True)

    @property
    def complaint(self) -> str | None:
        """Why the attempt must end, or None."""
        return self._complaint

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while self._complaint is None and not self._over.wait(self._every_seconds):
            self._complaint = excess(self._folders, self._limit_bytes)


def excess(folders: Iterable[Path], limit_bytes: int) -> str | None:
    """What is too much in these folders, or None. Counts blocks on the disk and follows no link.

    A folder that we may not read counts as too much, since anything could be in it.
    """
    used = files = 0
    waiting = [str(folder) for folder in folders]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    used += found.st_blocks * 512
                    files += 1
                    if stat.S_ISDIR(found.st_mode):
                        waiting.append(entry.path)
                    if used > limit_bytes:
                        return f"it wrote more than {limit_bytes} bytes"
                    if files > MAX_FILES:
                        return f"it made more than {MAX_FILES} files"
        except PermissionError:
            return "it made a folder whose contents cannot be measured"
        except OSError:  # removed meanwhile
            continue
    return None
