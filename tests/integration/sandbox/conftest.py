"""A forkserver of this test's own, and tasks for it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.identities import folder_for_anybody

from carrara.sandbox.client import Forkserver
from carrara.sandbox.domain import ChildTask, Limits

CHILDREN = Path(__file__).resolve().parent / "children"
MIB = 1 << 20

MakeTask = Callable[..., ChildTask]


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder that a child with its own uid can reach even where there are no mount views."""
    with folder_for_anybody() as folder:
        yield folder


@pytest.fixture(scope="module")
def runtime_dir(open_folder: Path) -> Path:
    return open_folder / "sandbox"


@pytest.fixture(scope="module")
def forkserver(runtime_dir: Path) -> Iterator[Forkserver]:
    with Forkserver.start([], runtime_dir=runtime_dir) as running:
        yield running


@pytest.fixture
def make_task(forkserver: Forkserver) -> MakeTask:
    """Makes a task that runs a function of `children/endings.py` at the highest level of this machine."""

    def make(function: str, **changes: Any) -> ChildTask:
        settings: dict[str, Any] = {
            "entry": f"endings:{function}",
            "argument": {},
            "read_paths": (),
            "write_paths": (),
            "limits": limits(),
            "level": forkserver.capabilities.achieved,
            "import_paths": (CHILDREN,),
        }
        return ChildTask(**{**settings, **changes})

    return make


def limits(**changes: Any) -> Limits:
    settings = {"wall_seconds": 60.0, "memory_bytes": 256 * MIB, "processes": 32, "file_bytes": 64 * MIB}
    return Limits(**{**settings, **changes})
