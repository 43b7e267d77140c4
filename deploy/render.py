"""The files of `deploy/` that follow from the list of processes: `make docs` writes them, `make check` compares."""

import sys
from pathlib import Path

from deploy.compose_file import compose_file
from deploy.environment_files import secret_files, settings_file
from deploy.systemd_units import units

DEPLOY = Path(__file__).parent


def rendered() -> dict[Path, str]:
    """Every rendered file with its text."""
    files = {"compose.yaml": compose_file(), "env/carrara.env": settings_file()}
    files |= {f"env/{name}": text for name, text in secret_files().items()}
    files |= {f"systemd/{name}": text for name, text in units().items()}
    return {DEPLOY / name: text for name, text in files.items()}


def main(arguments: list[str]) -> int:
    """With `--check`: 1 and the names of the files that differ or are left over. Without: writes and removes them."""
    wanted = rendered()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    folders = {path.parent for path in wanted} - {DEPLOY}
    surplus = [path for folder in folders for path in folder.glob("*.*") if path not in wanted]
    if "--check" in arguments:
        names = sorted(str(path.relative_to(DEPLOY.parent)) for path in (*stale, *surplus))
        said = [f"{name} is stale: run `make docs`" for name in names] or ["deploy: rendered files are current"]
        sys.stdout.write("\n".join(said) + "\n")
        return 1 if names else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
    for path in surplus:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
