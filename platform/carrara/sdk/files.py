"""Files that the client writes: whole or not at all."""

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Replaces `path` with `text`, readable by its owner only, at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    partial.replace(path)
