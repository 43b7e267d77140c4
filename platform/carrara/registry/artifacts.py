"""Bringing a version's files to a job: from blobs, or once from MLflow for a version that was adopted."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from carrara.contracts.release import ArtifactFile, digest_files
from carrara.kernel.crashpoint import crashpoint
from carrara.kernel.digests import Digest
from carrara.kernel.errors import Invalid, NotFound, TooLarge
from carrara.kernel.ids import UserId
from carrara.persistence.database import Database, Scope
from carrara.registry import store
from carrara.registry.domain import Version
from carrara.registry.ports import ModelTracking
from carrara.storage.blobs import Blobs, TreeFile, check_tree_path

MAX_FILES = 2000


@dataclass(frozen=True)
class ArtifactCopier:
    """Copies each adopted version once: the bytes of the first copy are what the version is, whatever MLflow holds."""

    database: Database
    blobs: Blobs
    tracking: ModelTracking
    max_bytes: int

    def bring(self, version: Version, target: Path, *, submitted_by: UserId) -> Version:
        """Writes the version's folder to `target` and gives the version with its files.

        `TooLarge`, `Invalid(unreadable_source)`, `Invalid(bad_tree)`: MLflow's copy cannot be a version of ours.
        """
        if version.said.artifact_digest is None:
            version = self._adopt_files(version, target.parent, submitted_by)
        files = [TreeFile(file.path, _digest(file), file.size) for file in version.said.files]
        self.blobs.get_tree(files, target)
        return version

    def _adopt_files(self, version: Version, near: Path, submitted_by: UserId) -> Version:
        with tempfile.TemporaryDirectory(prefix="adopt-", dir=near) as folder:
            self._download(version, Path(folder) / "model")
            tree = self.blobs.put_tree(Path(folder) / "model", max_bytes=self.max_bytes)
        files = tuple(ArtifactFile(path=file.path, digest=file.digest, size=file.size) for file in tree)
        crashpoint("adopt.after_copy")
        with self.database.transaction(Scope(version.project_id, submitted_by)) as session:
            if store.keep_files(session, version, digest_files(files), files):
                said = replace(version.said, artifact_digest=digest_files(files), files=files)
                return replace(version, said=said)
            return store.get_version(session, version.project_id, version.id)

    def _download(self, version: Version, target: Path) -> None:
        project = self.tracking.of(version.project_id)
        location = project.location_of(project.get_version(version.said.model, version.said.number))
        files = project.list_files(location)
        if not files:
            raise Invalid(f"MLflow has no files for {version.name}", code="unreadable_source")
        if len(files) > MAX_FILES:
            raise TooLarge(f"{version.name} has {len(files)} files, over the limit of {MAX_FILES}", limit=MAX_FILES)
        known = sum(file.size or 0 for file in files)
        if known > self.max_bytes:
            raise TooLarge(
                f"{version.name} has {known} bytes, over the limit of {self.max_bytes}",
                size=known,
                limit=self.max_bytes,
            )
        left = self.max_bytes
        for file in files:
            path = target / check_tree_path(file.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                left -= project.download(location, file.path, path, max_bytes=left)
            except NotFound as error:
                raise Invalid(f"MLflow lists {file.path} and does not have it", code="unreadable_source") from error


def _digest(file: ArtifactFile) -> Digest:
    return Digest(file.digest)
