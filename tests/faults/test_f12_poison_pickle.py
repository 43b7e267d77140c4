"""F12: a model that attacks whoever loads it. Refused unread, or held by the sandbox; never anything outside."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.model_tracking import FakeTracking
from tests.support.registry import PRELOAD, RegistryWorld, adopt_folder, registry_world

from carrara.contracts.jobs import JobState
from carrara.persistence.database import Database
from carrara.registry import handler
from carrara.sandbox.client import Forkserver

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parents[2]
HIDDEN = [
    "run_program",
    "open_socket",
    "read_environment",
    "read_secret_file",
    "write_outside",
    "fork_many",
    "loop_forever",
    "allocate",
    "kill_parent",
    "claim_success",
]
PLAIN = ["direct", "protocol_0", "called_skops"]


class Targets:
    """What the attacks reach for, and whether they got it."""

    def __init__(self, folder: Path) -> None:
        self.outside = folder / "outside"
        self.outside.mkdir()
        self.outside.chmod(0o777)  # only the sandbox keeps a child from writing here
        self.secret = folder / "secret"
        self.secret.write_text("canary-of-the-platform")
        self.secret.chmod(0o600)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.victim = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])

    def told(self) -> str:
        return json.dumps(
            {
                "outside": str(self.outside),
                "secret_file": str(self.secret),
                "port": self._listener.getsockname()[1],
                "parent": self.victim.pid,
            }
        )

    def check_untouched(self) -> None:
        """Nothing written, nobody called, nobody killed."""
        assert list(self.outside.iterdir()) == []
        with pytest.raises(BlockingIOError):
            self._listener.accept()
        assert self.victim.poll() is None

    def close(self) -> None:
        self._listener.close()
        self.victim.kill()
        self.victim.wait()


@pytest.fixture(scope="module")
def targets() -> Iterator[Targets]:
    with tempfile.TemporaryDirectory(prefix="carrara-f12-") as folder:
        Path(folder).chmod(0o755)
        made = Targets(Path(folder))
        yield made
        made.close()


@pytest.fixture(scope="module")
def hostile(targets: Targets) -> Iterator[Path]:
    """A folder for each attack."""
    with tempfile.TemporaryDirectory(prefix="carrara-f12-models-") as folder:
        command = [sys.executable, "-m", "tests.support.hostile_models", folder, targets.told()]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        yield Path(folder)


@pytest.fixture(scope="module")
def forkserver() -> Iterator[Forkserver]:
    os.environ["CARRARA_CANARY"] = "canary-in-the-environment"
    with (
        tempfile.TemporaryDirectory(prefix="carrara-f12-run-") as folder,
        Forkserver.start(PRELOAD, runtime_dir=Path(folder)) as started,
    ):
        yield started
    del os.environ["CARRARA_CANARY"]


@pytest.fixture(params=[False, True], ids=["pickles refused", "pickles allowed"])
def world(
    request: pytest.FixtureRequest, database: Database, tmp_path: Path, forkserver: Forkserver
) -> Iterator[RegistryWorld]:
    with registry_world(database, tmp_path, FakeTracking(), forkserver, allows_pickle=request.param) as made:
        yield made


def rejected(world: RegistryWorld) -> Any:
    """The version, which must have been rejected and have no release; its audit record says why."""
    [version] = world.sql("SELECT * FROM versions")
    assert version.state == "rejected"
    assert world.sql("SELECT 1 FROM releases") == []
    [(details,)] = world.sql("SELECT details FROM audit_records WHERE action = 'version.rejected'")
    assert details["reason"] == version.rejection["reason"]
    return version


@pytest.mark.parametrize("name", PLAIN)
def test_fault_f12_a_plain_attack_is_refused_unread(
    world: RegistryWorld, hostile: Path, targets: Targets, name: str
) -> None:
    adopt_folder(world, hostile / name)
    assert world.run_next_job().state is JobState.FAILED
    version = rejected(world)
    assert version.rejection["reason"] == "unsafe"
    assert version.rejection["facts"]["dangerous_imports"] == ["posix.system"]
    targets.check_untouched()


@pytest.mark.parametrize("name", HIDDEN)
def test_fault_f12_a_hidden_attack_is_refused_or_held(
    world: RegistryWorld, hostile: Path, targets: Targets, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "TIMEOUT_SECONDS", 8)
    adopt_folder(world, hostile / name)
    job = world.run_next_job()
    assert job.state is JobState.FAILED, job
    version = rejected(world)
    if world.project.allows_pickle:
        assert version.rejection["reason"] == "load_failed"
        assert job.error is not None and job.error.reason in _ENDS[name], job.error
    else:
        assert version.rejection["reason"] == "unsafe"
        assert job.started_at is not None and world.sql("SELECT peak_memory_bytes FROM job_attempts")[0][0] is None
    everything = json.dumps([list(row) for row in world.sql("SELECT error, result FROM jobs")], default=str)
    everything += json.dumps([row.text for row in world.sql("SELECT text FROM job_logs")])
    assert "canary" not in everything
    targets.check_untouched()


_ENDS = {
    "run_program": {"load_failed", "raised"},
    "open_socket": {"load_failed"},
    "read_environment": {"load_failed"},
    "read_secret_file": {"load_failed"},
    "write_outside": {"load_failed"},
    "fork_many": {"load_failed", "timed_out", "crashed"},
    "loop_forever": {"timed_out"},
    "allocate": {"out_of_memory", "load_failed"},
    "kill_parent": {"load_failed"},
    "claim_success": {"exited"},
}
