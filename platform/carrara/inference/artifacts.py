"""The model folders of one serving instance: fetched once, shared by its processes, hashed again by each before use.

What a child loads is a read-only copy that we made, below a folder that only we can write; what is hashed is that
copy, so nothing can be swapped between the check and the load (S15).
"""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import msgspec

from carrara.contracts.release import ArtifactFile, GoldenRows, ReleaseManifest, digest_files
from carrara.kernel.digests import Digest, digest_bytes, digest_file
from carrara.kernel.errors import Corrupted
from carrara.kernel.ids import uuid7
from carrara.storage.blobs import Blobs, TreeFile

log = logging.getLogger(__name__)

MAX_GOLDEN_BYTES = 64 << 20
_UNWANTED_SECONDS = 24 * 3600.0
_GOLDEN_SUFFIX = ".golden"
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

        Asks the store only for what is not here: serving must come back while the store is away. A cached copy that is
        no longer right is thrown away and fetched again once: disks fail, too. `OSError` says nothing of the copy (out
        of descriptors, a disk that hangs), so it stays.
        """
        folder = self._root / digest.removeprefix("sha256:")
        golden = self._golden(manifest, folder.with_suffix(_GOLDEN_SUFFIX))
        try:
            self._fetch(manifest, folder)
            hashed = _hash(folder, manifest)
        except Corrupted as error:
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
        for path in self._root.iterdir() if self._root.is_dir() else ():
            if path.name.removesuffix(_GOLDEN_SUFFIX) in names:
                continue
            with contextlib.suppress(FileNotFoundError):  # a sibling process prunes, too
                if path.stat().st_mtime < oldest:
                    _remove(path)

    def _golden(self, manifest: ReleaseManifest, path: Path) -> GoldenRows:
        content = _read_if_right(path, manifest.golden.digest)
        if content is None:
            content = self._blobs.get_bytes(manifest.golden.digest, MAX_GOLDEN_BYTES)
            self._keep(content, path)
        golden = GoldenRows.model_validate(msgspec.json.decode(content))
        lengths = {len(values) for values in (*golden.columns.values(), *golden.outputs.values())}
        if lengths - {manifest.golden.rows}:
            raise Corrupted(f"the golden set has columns of {sorted(lengths)} rows, not {manifest.golden.rows}")
        return golden

    def _keep(self, content: bytes, path: Path) -> None:
        self._root.mkdir(parents=True, exist_ok=True, mode=0o711)
        arriving = self._root / f"arriving-{uuid7()}"
        try:
            arriving.write_bytes(content)
            arriving.chmod(_FILE_MODE)
            arriving.replace(path)
        finally:
            arriving.unlink(missing_ok=True)

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


def _read_if_right(path: Path, digest: str) -> bytes | None:
    """The file, if it is there and has this digest."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if digest_bytes(content) != digest:
        log.warning("the cached golden set %s is damaged and is fetched again", path.name)
        return None
    return content


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


def _remove(path: Path) -> None:
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for parent, _, _ in os.walk(path):
        Path(parent).chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)
