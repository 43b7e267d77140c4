"""Log files of children, kept from growing without end."""

import shutil
from pathlib import Path

MAX_BYTES = 10 << 20
_KEPT = 3


def rotate(path: Path, *, max_bytes: int = MAX_BYTES) -> bool:
    """Moves a full log to `<name>.1`, older ones up to `.3`; True if it was full.

    Copied and cut rather than renamed: the child goes on writing to the file that it has open. What it writes in
    between is lost, a few lines at most. A full disk leaves the log as it is.
    """
    try:
        if path.stat().st_size <= max_bytes:
            return False
        for number in range(_KEPT, 1, -1):
            older = _numbered(path, number - 1)
            if older.exists():
                older.rename(_numbered(path, number))
        shutil.copyfile(path, _numbered(path, 1))
        with path.open("r+b") as stream:
            stream.truncate(0)
    except OSError:
        return False
    return True


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
