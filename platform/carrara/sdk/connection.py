"""Where the platform is and who asks: arguments, then environment, then the nearest `.carrara`, then the home."""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from carrara.kernel.errors import Invalid

CLIENT_FILE = "client.json"


@dataclass(frozen=True)
class Connection:
    """The platform's address, the serving address, and a token."""

    url: str
    token: str = field(repr=False)
    serving_url: str | None = None
    project: str | None = None
    source: str = "arguments"


def find_connection(
    *,
    url: str | None = None,
    token: str | None = None,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Connection:
    """The connection to use; `Invalid` says every place that was looked at."""
    environ = os.environ if environ is None else environ
    given = {"url": url or environ.get("CARRARA_URL"), "token": token or environ.get("CARRARA_TOKEN")}
    stored, source = _stored(directory or Path.cwd(), home_file(environ))
    if given["url"] and given["url"].rstrip("/") != stored.get("url", "").rstrip("/"):
        stored = {}  # a token that was kept for one platform is never shown to another
    found_url, found_token = given["url"] or stored.get("url"), given["token"] or stored.get("token")
    if not found_url or not found_token:
        missing = "address" if not found_url else "token"
        raise Invalid(
            f"no {missing} of a Carrara platform: pass it, set CARRARA_URL and CARRARA_TOKEN, run `carrara login`, "
            "or work in a directory where `carrara up` runs",
            code="not_connected",
        )
    return Connection(
        url=found_url.rstrip("/"),
        token=found_token,
        serving_url=environ.get("CARRARA_SERVING_URL") or stored.get("serving_url"),
        project=environ.get("CARRARA_PROJECT") or stored.get("project"),
        source="arguments or environment" if given["url"] else source,
    )


def home_file(environ: Mapping[str, str]) -> Path:
    """Where `carrara login` keeps its connection."""
    base = environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "carrara" / CLIENT_FILE


def _stored(directory: Path, home: Path) -> tuple[dict[str, str], str]:
    nearest = [parent / ".carrara" / CLIENT_FILE for parent in (directory, *directory.parents)]
    for path in (*nearest, home):
        values = _read(path)
        if values is not None and (path == home or _is_local(values["url"])):
            return values, str(path)
    return {}, "nowhere"


def _read(path: Path) -> dict[str, str] | None:
    """What a file of ours says. A checkout of somebody else's may hold one too: it is not believed."""
    if not (_is_ours(path) and _is_ours(path.parent)):
        return None
    try:
        document = json.loads(path.read_text())
        values = {key: str(value) for key, value in document.items() if value is not None}
        name = Path(values.get("token_file", "")).name
        if "token" not in values and name:
            values["token"] = (path.parent / name).read_text().strip()
    except (OSError, ValueError, AttributeError):
        return None
    return values if "url" in values and "token" in values else None


def _is_ours(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022 and not stat.S_ISLNK(found.st_mode)


def _is_local(url: str) -> bool:
    return urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}
