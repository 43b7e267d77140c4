"""Whom a server runs as. Postgres refuses root, so root hands it to an account that every system has."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ACCOUNT_NAME = "nobody"


@dataclass(frozen=True)
class Account:
    """A user of this machine, by number: `subprocess` takes the numbers as they are."""

    name: str
    uid: int
    gid: int

    @property
    def popen_options(self) -> dict[str, Any]:
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def server_account() -> Account | None:
    """The account that Postgres must be started as, or None when we may start it as ourselves."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam(_ACCOUNT_NAME)  # an invented number is refused: "could not look up effective user ID"
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def popen_options(account: Account | None) -> dict[str, Any]:
    """What `subprocess` needs to start a child as `account`; None means as ourselves."""
    return account.popen_options if account else {}


def can_reach(path: Path, account: Account | None) -> bool:
    """Whether `account` may enter the folder: that it and everything above it lets it through.

    Tried by a process of that account, since modes alone miss access lists and network file systems.
    """
    if account is None:
        return os.access(path, os.X_OK)
    try_it = ["/bin/sh", "-c", 'cd "$1"', "sh", str(path)]
    done = subprocess.run(try_it, check=False, capture_output=True, cwd="/", **account.popen_options)
    return done.returncode == 0
