"""Private folders of children: made by the client, emptied by it too, since the forkserver must not wait for a disk."""

import contextlib
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path

_NAME = re.compile(r"scratch-(\d+)-")


def make_scratch(runtime_dir: Path) -> Path:
    """A new empty folder that names the process it belongs to."""
    return Path(tempfile.mkdtemp(prefix=f"scratch-{os.getpid()}-", dir=runtime_dir))


def remove_tree(folder: Path) -> None:
    """Removes a folder that a child could do anything to; what cannot be removed now is left to `sweep_scratch`."""
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):  # folders without rights, which their owner can give back
        for path, names, _ in os.walk(folder):  # it goes into the folders of `names` after this
            for name in names:
                inner = Path(path, name)
                with contextlib.suppress(OSError):
                    if not inner.is_symlink():  # a link to a folder of ours must not open that one
                        inner.chmod(stat.S_IRWXU)
        shutil.rmtree(folder, ignore_errors=True)


def sweep_scratch(runtime_dir: Path) -> None:
    """Removes what processes that are no more have left."""
    for folder in runtime_dir.iterdir():
        owner = _NAME.match(folder.name)
        if owner and not _is_alive(int(owner[1])):
            remove_tree(folder)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
