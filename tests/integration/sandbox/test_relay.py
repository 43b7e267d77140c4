"""A child reaches the one address that it was given, over the network that nobody else is in, and nothing else."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.integration.sandbox.conftest import MakeTask
from tests.support.waiting import eventually

from carrara.sandbox.client import Forkserver
from carrara.sandbox.domain import ExitKind, Level
from carrara.sandbox.frames import decode_message

BIG = 5_000_000


class Platform(BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # the name that http.server calls
        self._answer(b"b" * BIG if self.path == "/big" else b"hello from the platform")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name that http.server gives it
        return


@pytest.fixture
def platform() -> Iterator[tuple[str, int]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Platform)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield "127.0.0.1", server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["achieved", Level.NONE])
def level(request: pytest.FixtureRequest, forkserver: Forkserver) -> Level:
    if request.param == Level.NONE:
        return Level.NONE
    if not forkserver.capabilities.confined_relay:
        pytest.skip("no network namespaces here: a relay is refused")
    return forkserver.capabilities.achieved


def answer_of(forkserver: Forkserver, make_task: MakeTask, function: str, **changes: Any) -> dict[str, Any]:
    task = make_task(
        "", entry=f"libraries:{function}", environment={"PLATFORM_URL": "http://127.0.0.1:{relay_port}"}, **changes
    )
    with forkserver.spawn(task) as child:
        frame = child.receive(60)
        end = child.wait(10)
    assert frame is not None, end
    assert end is not None
    assert end.kind is ExitKind.FINISHED
    return decode_message(frame)


def test_the_platform_answers_through_the_relay(
    forkserver: Forkserver, make_task: MakeTask, platform: tuple[str, int], level: Level
) -> None:
    answer = answer_of(
        forkserver,
        make_task,
        "fetch_through_relay",
        argument={"path": "/"},
        level=level,
        platform_address=platform,
    )

    assert answer == {"length": 23, "first": b"hello"}


def test_large_answers_come_whole_over_several_connections(
    forkserver: Forkserver, make_task: MakeTask, platform: tuple[str, int], level: Level
) -> None:
    answer = answer_of(forkserver, make_task, "fetch_concurrently", level=level, platform_address=platform)

    assert answer == {"lengths": [BIG] * 6}


def test_large_bodies_go_out_whole(
    forkserver: Forkserver, make_task: MakeTask, platform: tuple[str, int], level: Level
) -> None:
    answer = answer_of(forkserver, make_task, "post_through_relay", level=level, platform_address=platform)

    assert answer == {"length": 3_000_000}


def test_nothing_else_is_reached(forkserver: Forkserver, make_task: MakeTask, platform: tuple[str, int]) -> None:
    if not forkserver.capabilities.confined_relay:
        pytest.skip("no network namespaces here: a relay is refused")
    with socket.create_server(("127.0.0.1", 0)) as other:
        addresses = [["127.0.0.1", other.getsockname()[1]], ["127.0.0.1", platform[1]], ["169.254.169.254", 80]]

        answer = answer_of(
            forkserver, make_task, "reach_elsewhere", argument={"addresses": addresses}, platform_address=platform
        )

    assert "reached" not in answer.values()
    assert "made" not in answer.values()


def test_a_platform_that_is_away_is_a_connection_error(forkserver: Forkserver, make_task: MakeTask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = closed.getsockname()[:2]
    task = make_task(
        "",
        entry="libraries:fetch_through_relay",
        argument={"path": "/"},
        environment={"PLATFORM_URL": "http://127.0.0.1:{relay_port}"},
        platform_address=address,
        level=Level.NONE if not forkserver.capabilities.confined_relay else forkserver.capabilities.achieved,
    )

    with forkserver.spawn(task) as child:
        end = child.wait(30)

    assert end is not None
    assert end.kind is ExitKind.RAISED
    assert "Remote end closed" in end.message or "reset" in end.message


def test_the_relay_ends_with_the_child(
    forkserver: Forkserver, make_task: MakeTask, platform: tuple[str, int], level: Level
) -> None:
    before = threading.active_count()

    answer_of(
        forkserver, make_task, "fetch_through_relay", argument={"path": "/"}, level=level, platform_address=platform
    )

    names = [thread.name for thread in threading.enumerate()]
    assert "sandbox-relay" not in names, names
    eventually(lambda: threading.active_count() <= before, within_seconds=5, what="no thread is left")
