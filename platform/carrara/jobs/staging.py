"""The folders of attempts: made for one attempt, removed when no attempt stands behind them."""

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from uuid import UUID

from carrara.jobs.ports import ClaimedJob, Staging
from carrara.kernel.ids import JobId
from carrara.sandbox.scratch import remove_tree
from carrara.storage.disk import disk_error

Attempt = tuple[UUID, int]
_log = logging.getLogger(__name__)


class StagingArea:
    """`<root>/<job>/<attempt>/`, on this worker's own disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, job: ClaimedJob) -> Staging:
        """Fresh folders for this attempt; `Unavailable` if the disk is full or away."""
        place = self.place(job.id, job.attempt)
        staging = Staging(
            inputs=place / "inputs", outputs=place / "outputs", scratch=place / "scratch", events=place / "events.jsonl"
        )
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.geteuid() == 0:
                self._root.chmod(0o711)  # children with accounts of their own must get through to their folders
            remove_tree(place)
            for folder in (staging.inputs, staging.outputs, staging.scratch):
                folder.mkdir(parents=True)
            staging.events.touch()
        except OSError as error:
            raise disk_error(error, f"making the job's folder {place}") from error
        return staging

    def open_to_child(self, staging: Staging) -> None:
        """Lets a child that has an account of its own read what `prepare` brought."""
        try:
            for path in (staging.inputs, *staging.inputs.rglob("*")):
                if not path.is_symlink():
                    path.chmod(0o755 if path.is_dir() else 0o644)
        except OSError as error:
            raise disk_error(error, "opening the job's inputs to its process") from error

    def remove(self, job_id: UUID, attempt: int) -> None:
        """Removes an attempt's folders; what cannot be removed now is left to the next sweep."""
        remove_tree(self.place(job_id, attempt))
        folder = self._root / str(job_id)
        if folder.is_dir() and not any(folder.iterdir()):
            remove_tree(folder)

    def sweep(self, running: Callable[[list[UUID]], set[Attempt]]) -> int:
        """Removes the folders of attempts that are not `running`; how many. The folders are listed first, so that an
        attempt which starts meanwhile is not among them."""
        found = list(self._attempts())
        if not found:
            return 0
        alive = running(sorted({job_id for job_id, _ in found}))
        dead = [attempt for attempt in found if attempt not in alive]
        for job_id, attempt in dead:
            self.remove(job_id, attempt)
        if dead:
            _log.info("removed the folders of %d attempts that run no more", len(dead))
        return len(dead)

    def _attempts(self) -> Iterable[Attempt]:
        if not self._root.is_dir():
            return
        for folder in self._root.iterdir():
            for place in folder.iterdir() if folder.is_dir() else ():
                try:
                    yield UUID(folder.name), int(place.name)
                except ValueError:
                    _log.warning("%s is no folder of an attempt; it stays", place)

    def place(self, job_id: UUID | JobId, attempt: int) -> Path:
        """The folder of an attempt, whether it is there or not."""
        return self._root / str(job_id) / str(attempt)
