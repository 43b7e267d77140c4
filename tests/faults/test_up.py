"""`kill -9` of each process of the platform, of its supervisor, and of all of them: it comes back as it was."""

import contextlib
import json
import signal
import urllib.request
from collections.abc import Iterator

import psutil
import pytest
from tests.support.stack import Stack, private_stack, start_stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.faults

PROCESSES = ("postgres", "valkey", "mlflow", "platform", "controller", "worker", "serving")


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    with private_stack() as stack:
        yield stack


def make_project(stack: Stack, name: str) -> None:
    body = json.dumps({"name": name}).encode()
    headers = {
        "Authorization": f"Bearer {stack.admin_token}",
        "content-type": "application/json",
        "Idempotency-Key": f"make-{name}",
    }
    request = urllib.request.Request(f"{stack.url}/api/v1/projects", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 201


def projects(stack: Stack) -> set[str]:
    request = urllib.request.Request(
        f"{stack.url}/api/v1/projects", headers={"Authorization": f"Bearer {stack.admin_token}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return {row["name"] for row in json.loads(answer.read())}


@pytest.mark.parametrize("name", PROCESSES)
def test_a_killed_process_comes_back_alone(own_stack: Stack, name: str) -> None:
    project = f"before-{name}"
    make_project(own_stack, project)
    before = own_stack.kill(name)
    eventually(
        lambda: own_stack.is_healthy() and own_stack.pid_of(name) != before,
        within_seconds=90,
        what=f"all is healthy after the kill of {name}",
        every_seconds=0.5,
    )
    assert project in projects(own_stack)


@pytest.mark.parametrize("whom", ["supervisor", "everything"])
def test_the_next_up_simply_works_after_the_kill_of(own_stack: Stack, whom: str) -> None:
    project = f"before-{whom}"
    make_project(own_stack, project)
    supervisor = psutil.Process(own_stack.pid_of("supervisor"))
    family = supervisor.children(recursive=True)
    for process in [supervisor, *(family if whom == "everything" else [])]:
        with contextlib.suppress(psutil.NoSuchProcess):  # the kernel may have been faster
            process.send_signal(signal.SIGKILL)
    left = psutil.wait_procs(family, timeout=10)[1]
    assert left == []
    again = start_stack(own_stack.data_dir)
    assert (again.url, again.serving_url) == (own_stack.url, own_stack.serving_url)
    assert again.is_healthy()
    assert project in projects(again)
