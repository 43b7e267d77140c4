"""A live endpoint, its history and a queued job outlive `kill -9` of the whole platform."""

import contextlib
import json
import signal
from pathlib import Path

import psutil
import pytest
from tests.support.stack import private_stack, start_stack
from tests.support.tour import go_live, make_people, write_spec
from tests.support.waiting import eventually

pytestmark = pytest.mark.faults


def kill_all(supervisor_pid: int) -> None:
    supervisor = psutil.Process(supervisor_pid)
    family = [*supervisor.children(recursive=True), supervisor]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):  # the kernel may have been faster
            process.send_signal(signal.SIGKILL)
    assert psutil.wait_procs(family, timeout=10)[1] == []


def test_no_job_version_or_ledger_entry_is_lost_when_everything_is_killed(tmp_path: Path) -> None:
    with private_stack() as stack:
        people = make_people(stack, tmp_path)
        ada = people["ada"]
        release = go_live(people, tmp_path)
        (tmp_path / "row.json").write_text(json.dumps({"x": 1.0, "y": 1.0, "colour": "red"}))
        before = ada.ok("predict", "lateness", "--rows", "row.json")
        history = ada.ok("history", "lateness")
        job = ada.ok("train", write_spec(tmp_path / "second.json", params={"C": 0.3}))["id"]

        kill_all(stack.pid_of("supervisor"))
        start_stack(stack.data_dir)

        eventually(
            lambda: ada.run("predict", "lateness", "--rows", "row.json", "--json").code == 0,
            within_seconds=30,
            what="the endpoint answers again",
        )
        after = ada.ok("predict", "lateness", "--rows", "row.json")
        assert (after["release"], after["predictions"]) == (release, before["predictions"])
        assert ada.ok("history", "lateness") == history
        assert ada.ok("job", "wait", job)["state"] == "succeeded"
        eventually(
            lambda: [v["number"] for v in ada.ok("version", "list", "late")] == [2, 1],
            within_seconds=60,
            what="the job's version is registered, once",
            every_seconds=1,
        )
        assert people["boss"].ok("audit", "verify")["holds"]
