"""The supervisor with small real processes: order, restarts, stops, and what a kill leaves (nothing)."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from tests.support.small_platform import NO_SERVERS, SmallPlatform, none_alive, pid_is_gone
from tests.support.waiting import eventually

from carrara.embedded.status import Verdict, look


def test_processes_start_in_order_and_stop_on_request_leaving_none(tmp_path: Path) -> None:
    with SmallPlatform(tmp_path / "data") as platform:
        platform.wait_until_ready()
        seen = [(event["name"], event["state"]) for event in platform.events if event["event"] == "process"]
        everyone = platform.identities()
        assert seen.index(("migrate", "done")) < seen.index(("platform", "starting"))
        assert len(everyone) == 4
        assert (tmp_path / "data" / "client.json").exists()
        begun = time.monotonic()
        platform.stop()
        assert time.monotonic() - begun < 10
    assert platform.process.returncode == 0
    assert none_alive(everyone)


def test_a_killed_process_is_started_again_with_its_port(tmp_path: Path) -> None:
    with SmallPlatform(tmp_path / "data") as platform:
        platform.wait_until_ready()
        first, url = platform.identity_of("serving"), platform.record.urls["serving"]
        os.kill(first.pid, signal.SIGKILL)
        second = platform.wait_until_again("serving", first)
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert int(answer.read()) == second.pid
        assert {row.name: row.restarts for row in platform.record.processes}["serving"] == 1
        assert "killed by SIGKILL" in "".join(event.get("detail", "") for event in platform.events)


def test_one_that_is_deaf_and_an_escaped_grandchild_do_not_outlive_the_stop(tmp_path: Path) -> None:
    escapee = tmp_path / "escapee"
    behaviour = {"worker": ["--deaf"], "controller": ["--escapee", str(escapee)]}
    with SmallPlatform(tmp_path / "data", behaviour=behaviour) as platform:
        platform.wait_until_ready()
        everyone, runaway = platform.identities(), int(escapee.read_text())
        begun = time.monotonic()
        platform.stop()
        assert time.monotonic() - begun < 10
    assert none_alive(everyone)
    eventually(lambda: pid_is_gone(runaway), within_seconds=2, what="the grandchild is gone")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the next start ends what was left")
def test_killing_the_supervisor_leaves_nothing_and_the_next_start_has_the_same_ports(tmp_path: Path) -> None:
    first = SmallPlatform(tmp_path / "data")
    first.wait_until_ready()
    everyone, urls = first.identities(), dict(first.record.urls)
    first.process.kill()
    first.process.wait()
    eventually(lambda: none_alive(everyone), within_seconds=5, what="all children are gone")
    with SmallPlatform(tmp_path / "data") as second:
        second.wait_until_ready()
        assert dict(second.record.urls) == urls


def test_a_second_start_in_the_same_place_names_the_first(tmp_path: Path) -> None:
    with SmallPlatform(tmp_path / "data") as platform:
        platform.wait_until_ready()
        command = [sys.executable, "-m", "carrara.cli.main", "up", "--data-dir", str(tmp_path / "data")]
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 11
        assert f"process {platform.process.pid}" in second.stderr
        assert platform.record.urls["platform"] in second.stderr
        assert platform.process.poll() is None


def test_a_taken_port_is_named_with_its_holder_and_the_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        command = [sys.executable, "-m", "carrara.cli.main", "up", "--data-dir", str(tmp_path / "data")]
        done = subprocess.run(
            [*command, f"--port={port}"],
            env={**os.environ, **NO_SERVERS},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 11
    for part in (str(port), "--port", "CARRARA_PLATFORM_PORT", f"process {os.getpid()}"):
        assert part in done.stderr


def test_a_process_that_never_starts_ends_all_with_its_last_words(tmp_path: Path) -> None:
    platform = SmallPlatform(tmp_path / "data", behaviour={"worker": ["--fail", "no such queue"]})
    assert platform.process.wait(timeout=60) == 1
    error = platform.events[-1]
    assert error["event"] == "error"
    assert "worker" in error["message"]
    assert "no such queue" in error["message"]
    assert none_alive(platform.identities())


def test_each_process_sees_only_the_secrets_that_it_needs(tmp_path: Path) -> None:
    if not Path("/proc/self/environ").exists():
        pytest.skip("needs /proc")
    with SmallPlatform(tmp_path / "data", environment={**NO_SERVERS, "CARRARA_OIDC_CLIENT_SECRET": "x"}) as platform:
        platform.wait_until_ready()
        serving, controller = (
            Path(f"/proc/{platform.identity_of(name).pid}/environ").read_text() for name in ("serving", "controller")
        )
    assert "CARRARA_DATABASE_URL" in controller
    assert "CARRARA_DATABASE_URL" not in serving
    assert "CARRARA_SERVING_SECRET" in serving
    assert "CARRARA_SERVING_SECRET" not in controller
    assert "CARRARA_OIDC_CLIENT_SECRET" not in serving + controller


def test_status_tells_healthy_degraded_and_not_running_apart(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    assert look(data_dir).verdict is Verdict.NOT_RUNNING
    with SmallPlatform(data_dir) as platform:
        platform.wait_until_ready()
        eventually(lambda: look(data_dir).verdict is Verdict.HEALTHY, within_seconds=5, what="it is healthy")
        serving = platform.identity_of("serving").pid
        os.kill(serving, signal.SIGSTOP)
        sick = look(data_dir)
        os.kill(serving, signal.SIGCONT)
        assert sick.verdict is Verdict.DEGRADED
        assert {row.name: row.answer for row in sick.processes}["serving"] == "no_answer"
    assert look(data_dir).verdict is Verdict.NOT_RUNNING


def test_status_says_when_it_could_not_find_out(tmp_path: Path) -> None:
    with SmallPlatform(tmp_path / "data") as platform:
        platform.wait_until_ready()
        kept = platform.place.run.state_path.read_text()
        platform.place.run.state_path.write_text("{")
        command = [sys.executable, "-m", "carrara.cli.main", "status", "--data-dir", str(tmp_path / "data")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        platform.place.run.state_path.write_text(kept)
    assert done.returncode == 4
    assert "could not find out" in done.stderr


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "carrara.cli.main", "up", "--data-dir", str(tmp_path / "file" / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 9
    assert "--data-dir" in done.stderr
