"""Reference pages that are rendered from the code: `make docs` writes them, `make check` fails if they differ."""

import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from carrara.access.domain import MemberRole
from carrara.access.policy import PLATFORM, POLICY, Permission
from carrara.cli.exits import MEANING
from carrara.kernel.config import Settings

CLIENT_VARIABLES = {
    "CARRARA_URL": "the platform; else `client.json` in the nearest `.carrara`, else the last login",
    "CARRARA_TOKEN": "a token of yours, or the token of a job inside a job. a secret",
    "CARRARA_PROJECT": "the project that a command means",
    "CARRARA_SERVING_URL": "where to ask for predictions",
}
NOTICE = "<!-- Rendered from the code by `make docs`; do not edit. -->\n"


def settings_page() -> str:
    """Every `CARRARA_*` variable."""
    lines = [
        "# Settings",
        "",
        NOTICE,
        "Read once, at the start of a process. `carrara up` chooses what is not set; elsewhere you set what the",
        "process needs. A secret goes only to the process that needs it: `platform/carrara/processes.py` says which.",
        "",
        "| variable | default | what it is |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        is_secret = SecretStr in getattr(field.annotation, "__args__", ()) or field.annotation is SecretStr
        default = "" if field.default in (None, PydanticUndefined) else f"`{field.default}`"
        about = ". ".join(part for part in (field.description or "", "a secret" if is_secret else "") if part)
        lines.append(f"| `CARRARA_{name.upper()}` | {default} | {about} |")
    lines += [
        "",
        "The CLI and the SDK read others, and an option or argument goes before each:",
        "",
        "| variable | what it is |",
    ]
    lines += ["|---|---|", *(f"| `{name}` | {about} |" for name, about in CLIENT_VARIABLES.items())]
    return "\n".join(lines) + "\n"


def roles_page() -> str:
    """Who may do what."""
    roles = list(MemberRole)
    lines = [
        "# Roles",
        "",
        NOTICE,
        "Roles are sets: none implies another. A platform admin makes projects and people, manages members anywhere,",
        "but is a member of nothing by itself. The author of a version never approves it, except in tier 4.",
        "",
        "| permission | " + " | ".join(role.value for role in roles) + " | platform admin |",
        "|---|" + "---|" * (len(roles) + 1),
    ]
    for permission in Permission:
        if permission is Permission.SIGNED_IN:
            continue
        allowed = POLICY.get(permission, frozenset())
        admin = "yes" if permission in PLATFORM or permission is Permission.MANAGE_MEMBERS else ""
        marks = " | ".join("yes" if role in allowed else "" for role in roles)
        lines.append(f"| {permission.value.replace('_', ' ')} | {marks} | {admin} |")
    return "\n".join(lines) + "\n"


def exits_page() -> str:
    """What a command's exit code means."""
    lines = ["# Exit codes", "", NOTICE, "| code | name | meaning |", "|---|---|---|"]
    lines += [f"| {code.value} | {code.name.lower()} | {meaning} |" for code, meaning in MEANING.items()]
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "docs/reference/settings.md": settings_page,
    "docs/reference/roles.md": roles_page,
    "docs/reference/exit-codes.md": exits_page,
}


def main(arguments: list[str]) -> int:
    """With `--check`: 1 and the names of the pages that differ. Without: writes them."""
    stale = [name for name, render in PAGES.items() if not _is(Path(name), render())]
    if "--check" in arguments:
        print("\n".join(f"{name} is stale: run `make docs`" for name in stale) or "docs: rendered pages are current")
        return 1 if stale else 0
    for name in stale:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(PAGES[name](), encoding="utf-8")
    return 0


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
