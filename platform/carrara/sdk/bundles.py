"""A directory of code as one reproducible archive, with the git commit that it stands at."""

import gzip
import io
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from carrara.kernel.errors import Invalid

LEFT_OUT = frozenset({".git", ".carrara", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"})
MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Bundle:
    """`archive`: tar.gz, the same bytes for the same files. `git_commit` None: the directory is in no checkout."""

    archive: bytes
    git_commit: str | None
    git_is_dirty: bool | None


def bundle_directory(directory: Path) -> Bundle:
    """Everything below `directory` but caches, environments and links; `Invalid` if it is absent or too large."""
    if not directory.is_dir():
        raise Invalid(f"{directory} is no directory; name the one that holds the training code", code="no_directory")
    files = sorted(
        path
        for path in directory.rglob("*")
        if path.is_file() and not path.is_symlink() and not LEFT_OUT & set(path.relative_to(directory).parts)
    )
    size = sum(path.stat().st_size for path in files)
    if not files or size > MAX_BYTES:
        raise Invalid(
            f"{directory} holds {len(files)} files of {size} bytes; code bundles have 1 file to {MAX_BYTES} bytes. "
            "Push data as a dataset instead",
            code="bad_bundle",
        )
    return Bundle(_archive(directory, files), *_git_state(directory))


def _archive(directory: Path, files: list[Path]) -> bytes:
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in files:
            content = path.read_bytes()
            entry = tarfile.TarInfo(path.relative_to(directory).as_posix())
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _git_state(directory: Path) -> tuple[str | None, bool | None]:
    commit = _git(directory, "rev-parse", "HEAD")
    if commit is None:
        return None, None
    return commit, bool(_git(directory, "status", "--porcelain", "--", "."))


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        run = subprocess.run(["git", *arguments], cwd=directory, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip()
