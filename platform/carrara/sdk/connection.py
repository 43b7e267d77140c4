"""Where the platform is and who asks: arguments, then environment, then the nearest `.carrara`, then the home."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

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
    stored, source = _stored(directory or Path.cwd(), home_file(environ))
    found_url = url or environ.get("CARRARA_URL") or stored.get("url")
    found_token = token or environ.get("CARRARA_TOKEN") or stored.get("token")
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
        source="arguments or environment" if found_url != stored.get("url") else source,
    )


def home_file(environ: Mapping[str, str]) -> Path:
    """Where `carrara login` keeps its connection."""
    base = environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "carrara" / CLIENT_FILE


def _stored(directory: Path, home: Path) -> tuple[dict[str, str], str]:
    nearest = [parent / ".carrara" / CLIENT_FILE for parent in (directory, *directory.parents)]
    for path in (*nearest, home):
        try:
            document = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        values = {key: str(value) for key, value in document.items() if value is not None}
        if "token" not in values and "token_file" in values:
            try:
                values["token"] = (path.parent / values["token_file"]).read_text().strip()
            except OSError:
                continue
        return values, str(path)
    return {}, "nowhere"
