"""The data directory of `carrara up`: what lies where, and whether it can be used at all."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from carrara.embedded.state import RunFiles
from carrara.kernel.errors import Unavailable

NEEDED_BYTES = 256 << 20


@dataclass(frozen=True)
class DataDirectory:
    """All paths below one `--data-dir`; `root` is absolute."""

    root: Path

    @property
    def run(self) -> RunFiles:
        return RunFiles(self.root)

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def valkey(self) -> Path:
        return self.root / "valkey"

    @property
    def objects(self) -> Path:
        return self.root / "objects"

    def heartbeat(self, name: str) -> Path:
        return self.run.directory / f"{name}.heartbeat"

    @property
    def admin_token(self) -> Path:
        return self.root / "admin-token"

    @property
    def client(self) -> Path:
        return self.root / "client.json"


def open_data_directory(path: Path) -> DataDirectory:
    """Makes the folders that are missing. Unavailable if we may not write there or the disk is full."""
    place = DataDirectory(path.absolute())
    try:
        if not place.root.exists():
            # Postgres and confined jobs are other users when root starts us: they need to pass, not to read
            place.root.mkdir(parents=True)
            place.root.chmod(0o711 if os.geteuid() == 0 else 0o700)
        for folder in (place.secrets, place.logs, place.objects, place.run.directory):
            folder.mkdir(mode=0o700, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.run.directory) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise Unavailable(
            f"cannot write in the data directory {place.root}: {error.strerror}. Choose another with --data-dir, or"
            " mend its owner, its mode or the disk",
            path=str(place.root),
        ) from error
    free = free_bytes(place.root)
    if free < NEEDED_BYTES:
        raise Unavailable(
            f"disk full: {free >> 20} MB are free at {place.root}, the platform needs {NEEDED_BYTES >> 20} MB to start."
            " Make room, or choose another disk with --data-dir",
            free_bytes=free,
        )
    return place


def free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free
