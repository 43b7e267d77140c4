"""Random passwords, made once and kept in files that only we can read."""

import os
import secrets
from pathlib import Path

from carrara.kernel.errors import Unavailable

_SECRET_BYTES = 32


def kept_secret(directory: Path, name: str) -> str:
    """The secret called `name`, made at the first call: 256 random bits, safe in a URL.

    Two callers at once get the same one; a kill in between leaves either nothing or the whole file.
    """
    path = directory / name
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        _publish(path, secrets.token_urlsafe(_SECRET_BYTES))
    text = path.read_text().strip()
    if not text:
        raise Unavailable(f"{path} is empty; remove it, and the next start makes a new secret", path=str(path))
    return text


def _publish(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            return  # another process was first: its secret counts
    finally:
        draft.unlink(missing_ok=True)
