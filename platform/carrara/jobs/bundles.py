"""Code bundles: a user's code as files in blobs, named by the digest over all of them."""

import errno
import gzip
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from carrara.access.domain import Actor
from carrara.audit import service as audit
from carrara.contracts.jobs import CodeBundleFile, CodeBundleView
from carrara.jobs.store import user_name
from carrara.jobs.tables import CodeBundleRow
from carrara.kernel.digests import Digest, digest_json
from carrara.kernel.errors import Invalid, Issue, NotFound, TooLarge
from carrara.kernel.ids import ProjectId, UserId
from carrara.storage.blobs import Blobs, TreeFile, check_tree, check_tree_path
from carrara.storage.disk import copy_blocks, disk_error

MAX_FILES = 10_000
MAX_BYTES = 64 << 20
MAX_ARCHIVE_BYTES = 64 << 20
_MAX_TAR_BYTES = MAX_BYTES + 2048 * MAX_FILES  # the contents, and a header and padding for each file


@dataclass(frozen=True)
class StoredBundle:
    """Files that are in blobs; nothing names them until `record_bundle`."""

    digest: Digest
    byte_count: int
    files: tuple[TreeFile, ...]


def store_archive(blobs: Blobs, archive: Path, scratch: Path) -> StoredBundle:
    """Puts every file of a tar.gz into blobs. `Invalid(bad_bundle)` or `TooLarge` before anything is stored.

    Takes plain files in folders, below the top; no links, devices, absolute paths or `..`. Modes and times are not
    kept: what was bundled where and when does not change the digest.
    """
    with tempfile.TemporaryDirectory(dir=scratch, prefix="bundle-") as folder:
        with archive.open("rb") as stream:
            _unpack(stream, Path(folder))
        files = blobs.put_tree(Path(folder))
    named = [{"path": file.path, "digest": file.digest, "size": file.size} for file in files]
    return StoredBundle(digest_json(named), sum(file.size for file in files), files)


def record_bundle(
    session: Session,
    project_id: ProjectId,
    actor: Actor,
    bundle: StoredBundle,
    *,
    git_commit: str | None = None,
    git_is_dirty: bool | None = None,
) -> CodeBundleView:
    """The bundle's row. The same files again give the same row; a clean commit of them replaces a dirty one."""
    row = _find(session, project_id, bundle.digest)
    if row is None:
        row = CodeBundleRow(
            project_id=project_id,
            digest=bundle.digest,
            byte_count=bundle.byte_count,
            files=[{"path": file.path, "digest": file.digest, "size": file.size} for file in bundle.files],
            git_commit=git_commit,
            git_is_dirty=git_is_dirty,
            created_by=actor.id,
        )
        session.add(row)
    elif git_commit is not None and git_is_dirty is False and row.git_is_dirty is not False:
        row.git_commit, row.git_is_dirty = git_commit, False
    else:
        return _view(session, row)
    session.flush()
    audit.record(
        session,
        "code_bundle.recorded",
        actor=(actor.id, actor.name),
        subject=("code_bundle", row.digest),
        project_id=project_id,
        git_commit=row.git_commit,
        git_is_dirty=row.git_is_dirty,
    )
    return _view(session, row)


def get_bundle(session: Session, project_id: ProjectId, digest: str) -> CodeBundleView:
    """The bundle of that digest, or `NotFound`."""
    row = _find(session, project_id, digest)
    if row is None:
        raise NotFound("code bundle", digest=digest, hint="`carrara train` pushes the code that a spec names")
    return _view(session, row)


def materialise_bundle(blobs: Blobs, bundle: CodeBundleView, folder: Path) -> None:
    """Writes the bundle's files below `folder`, which must be empty or missing; each is verified by its digest."""
    blobs.get_tree((TreeFile(file.path, Digest(file.digest), file.size) for file in bundle.files), folder)


def _find(session: Session, project_id: ProjectId, digest: str) -> CodeBundleRow | None:
    query = select(CodeBundleRow).where(CodeBundleRow.project_id == project_id, CodeBundleRow.digest == digest)
    return session.scalars(query).one_or_none()


def _view(session: Session, row: CodeBundleRow) -> CodeBundleView:
    return CodeBundleView(
        digest=row.digest,
        byte_count=row.byte_count,
        files=[CodeBundleFile.model_validate(file) for file in row.files],
        git_commit=row.git_commit,
        git_is_dirty=row.git_is_dirty,
        created_by=user_name(session, UserId(row.created_by)),
        created_at=row.created_at,
    )


def _unpack(stream: BinaryIO, folder: Path) -> None:
    try:
        with gzip.open(stream) as unpacked:
            bounded = cast("BinaryIO", _Bounded(cast("BinaryIO", unpacked), _MAX_TAR_BYTES))
            with tarfile.open(fileobj=bounded, mode="r|") as archive:
                _write_files(archive, folder)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:  # it parses headers so
        raise _bad("archive", f"is no whole tar.gz: {error}") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise _bad("archive", "has a path that is longer than this system can keep; shorten it") from error
        raise disk_error(error, "unpacking the code bundle") from error


def _write_files(archive: tarfile.TarFile, folder: Path) -> None:
    written: list[TreeFile] = []
    total = 0
    for member in _files(archive):
        path = check_tree_path(member.name)
        written.append(TreeFile(path, Digest(""), member.size))
        total += member.size
        if len(written) > MAX_FILES or total > MAX_BYTES:
            raise TooLarge(
                f"the bundle has more than {MAX_FILES} files or {MAX_BYTES} bytes; push data as a dataset instead",
                max_files=MAX_FILES,
                max_bytes=MAX_BYTES,
            )
        check_tree(written[-1:])
        source = archive.extractfile(member)
        if source is None:
            raise _bad(path, "has no contents")
        target = folder / path
        _make_room(target, path)
        with target.open("xb") as stream:
            copy_blocks(cast("BinaryIO", source), stream)
    if not written:
        raise _bad("archive", "holds no file")


def _files(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in archive:
        if member.isdir():
            continue
        if not member.isreg() or member.issparse():
            raise _bad(member.name, "is a link, a device or a sparse file; only plain files can be bundled")
        yield member


def _make_room(target: Path, path: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise _bad(path, "has a file as its folder") from error
    if target.exists():
        raise _bad(path, "is there twice")


class _Bounded(RawIOBase):
    """Reads at most so many bytes: a small archive may unpack to any size."""

    def __init__(self, stream: BinaryIO, max_bytes: int) -> None:
        self._stream = stream
        self._left = max_bytes

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise TooLarge(f"the bundle unpacks to more than {MAX_BYTES} bytes", max_bytes=MAX_BYTES)
        return data


def _bad(path: str, why: str) -> Invalid:
    shown = path if len(path) <= 80 else path[:77] + "..."
    issue = Issue(where=shown, message=why, code="bad_bundle")
    return Invalid(f"code bundle: {shown!r} {why}", code="bad_bundle", issues=[issue])
