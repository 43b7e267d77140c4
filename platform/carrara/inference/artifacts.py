"""The model folders of one serving instance: fetched once, shared by its processes, hashed again by each before use.

What a child loads is a read-only copy that we made, below a folder that only we can write; what is hashed is that
copy, so nothing can be swapped between the check and the load (S15).
"""

import logging
import os
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import msgspec

from carrara.contracts.release import ArtifactFile, GoldenRows, ReleaseManifest, digest_files
from carrara.kernel.digests import Digest, digest_file
from carrara.kernel.errors import Corrupted
from carrara.kernel.ids import uuid7
from carrara.storage.blobs import Blobs, TreeFile

log = logging.getLogger(__name__)

MAX_GOLDEN_BYTES = 64 << 20
_UNWANTED_SECONDS = 24 * 3600.0
_FOLDER_MODE = 0o555
_FILE_MODE = 0o444


@dataclass(frozen=True)
class VerifiedArtifact:
    """A model folder whose bytes were just hashed. `hashed_digest`: of the manifest that these bytes make."""

    folder: Path
    hashed_digest: Digest
    golden: GoldenRows


class ArtifactCache:
    """Blocking: call it from a thread. Several processes may use one `root`; names appear whole or not at all."""

    def __init__(self, root: Path, blobs: Blobs) -> None:
        self._root = root
        self._blobs = blobs

    def open(self, digest: str, manifest: ReleaseManifest) -> VerifiedArtifact:
        """The release's folder, verified. `Corrupted`, `NotFound`, `Unavailable` as the store says.

        A cached copy that is no longer right is thrown away and fetched again once: disks fail, too.
        """
        folder = self._root / digest.removeprefix("sha256:")
        golden = self._golden(manifest)
        try:
            self._fetch(manifest, folder)
            hashed = _hash(folder, manifest)
        except (Corrupted, OSError) as error:
            log.warning("the cached copy of %s is damaged and is fetched again: %s", digest, error)
            _remove(folder)
            self._fetch(manifest, folder)
            hashed = _hash(folder, manifest)
        if hashed != digest:
            raise Corrupted(
                f"release {digest} rebuilt from the bytes on this machine has the digest {hashed}",
                expected=digest,
                found=hashed,
            )
        return VerifiedArtifact(folder, hashed, golden)

    def prune(self, wanted: Collection[str]) -> None:
        """Removes copies that no route names and that nobody fetched for a day."""
        names = {digest.removeprefix("sha256:") for digest in wanted}
        oldest = time.time() - _UNWANTED_SECONDS
        for folder in self._root.iterdir() if self._root.is_dir() else ():
            if folder.name not in names and folder.stat().st_mtime < oldest:
                _remove(folder)

    def _golden(self, manifest: ReleaseManifest) -> GoldenRows:
        content = self._blobs.get_bytes(manifest.golden.digest, MAX_GOLDEN_BYTES)
        golden = GoldenRows.model_validate(msgspec.json.decode(content))
        lengths = {len(values) for values in (*golden.columns.values(), *golden.outputs.values())}
        if lengths - {manifest.golden.rows}:
            raise Corrupted(f"the golden set has columns of {sorted(lengths)} rows, not {manifest.golden.rows}")
        return golden

    def _fetch(self, manifest: ReleaseManifest, folder: Path) -> None:
        if folder.is_dir():
            return
        self._root.mkdir(parents=True, exist_ok=True, mode=0o711)
        arriving = self._root / f"arriving-{uuid7()}"
        try:
            files = [TreeFile(file.path, Digest(file.digest), file.size) for file in manifest.files]
            self._blobs.get_tree(files, arriving)
            _make_read_only(arriving)
            try:
                arriving.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process of this instance was faster
                    raise
        finally:
            _remove(arriving)


def _hash(folder: Path, manifest: ReleaseManifest) -> Digest:
    """The digest of the manifest as these bytes make it; `Corrupted` names the file that is not what it should be."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    wanted = {file.path for file in manifest.files}
    if found != wanted:
        raise Corrupted(f"the model folder has other files than its release: {sorted(found ^ wanted)[:10]}")
    files = []
    for file in manifest.files:
        path = folder / file.path
        if path.is_symlink():
            raise Corrupted(f"{file.path} is a link")
        digest, size = digest_file(path)
        if digest != file.digest:
            raise Corrupted(
                f"{file.path} has the digest {digest}, not {file.digest}", expected=file.digest, found=digest
            )
        files.append(ArtifactFile(path=file.path, digest=digest, size=size))
    return manifest.model_copy(update={"files": files, "artifact_digest": digest_files(files)}).digest()


def _make_read_only(folder: Path) -> None:
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            (Path(parent) / name).chmod(_FILE_MODE)
        Path(parent).chmod(_FOLDER_MODE)


def _remove(folder: Path) -> None:
    if not folder.is_dir():
        return
    for parent, _, _ in os.walk(folder):
        Path(parent).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
