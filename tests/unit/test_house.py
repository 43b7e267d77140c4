"""The one trap of our layout: a package named `platform` would shadow the standard library's."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_platform_and_workers_are_plain_folders() -> None:
    assert not (ROOT / "platform" / "__init__.py").exists()
    assert not (ROOT / "workers" / "__init__.py").exists()


def test_the_standard_librarys_platform_still_imports_in_the_checkout() -> None:
    code = "import platform, uuid; print(platform.system(), uuid.uuid4())"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split()[0] in {"Linux", "Darwin"}
