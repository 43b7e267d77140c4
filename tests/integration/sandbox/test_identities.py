"""The same behaviour for whoever runs the platform: the other tests of this folder again, as somebody else."""

import os
from pathlib import Path

import pytest
from tests.support.identities import Identity, folder_for_anybody, run_as

HERE = Path(__file__).resolve().parent


@pytest.mark.parametrize(
    ("identity", "module", "which"),
    [
        (Identity.USER, "test_endings.py", "test"),
        (Identity.BARE_USER, "test_endings.py", "test"),
        (Identity.CONTAINER_ROOT, "test_endings.py", "test"),
        (Identity.USER, "test_forkserver.py", "not two_hundred"),
        (Identity.BARE_USER, "test_forkserver.py", "killed or level"),
        (Identity.CONTAINER_ROOT, "test_forkserver.py", "killed"),
        (Identity.USER, "test_libraries.py", "pools or pool or tables"),
        (Identity.BARE_USER, "test_libraries.py", "pools or tables"),
        (Identity.CONTAINER_ROOT, "test_libraries.py", "pools or tables"),
        (Identity.USER, "test_relay.py", "test"),
    ],
)
def test_it_works_for(identity: Identity, module: str, which: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    with folder_for_anybody() as folder:
        options = ["-q", "-p", "no:cacheprovider", "--basetemp", str(folder / "pytest"), "-k", which]
        done = run_as(identity, ["-m", "pytest", *options, str(HERE / module)], folder=folder, timeout_seconds=280)

    assert done.returncode == 0, done.stdout
