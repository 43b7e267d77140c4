"""Uploads that die: with their client, with the platform, between the blobs and the row."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from tests.support.object_store import free_port
from tests.support.people import make_actor, make_project, make_token
from tests.support.waiting import eventually

from carrara.persistence.database import EVERYTHING, Database

pytestmark = pytest.mark.faults

_MAIN = "from carrara.api.main import main; from carrara.kernel.config import Settings; main(Settings())"
CSV = b"day,x\n" + b"".join(b"2013-01-01,%d\n" % number for number in range(300_000))
URL = "/api/v1/projects/flights/datasets/days/snapshots"

StartPlatform = Callable[..., "PlatformProcess"]


class PlatformProcess:
    """A real platform process on a free port."""

    def __init__(self, database_url: str, folder: Path, crashpoint: str = "") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        free = {key: value for key, value in os.environ.items() if not key.startswith("CARRARA_")}
        with (folder / "platform.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _MAIN],
                env={
                    **free,
                    "CARRARA_DATABASE_URL": database_url,
                    "CARRARA_OBJECT_STORE": str(folder / "store"),
                    "CARRARA_DATA_DIR": str(folder / "data"),
                    "CARRARA_PLATFORM_PORT": str(self.port),
                    "CARRARA_CRASHPOINT": crashpoint,
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        eventually(self._answers, within_seconds=60, what="the platform answers")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def _answers(self) -> bool:
        assert self.process.poll() is None
        try:
            return httpx.get(f"{self.url}/healthz").status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Iterator[StartPlatform]:
    started: list[PlatformProcess] = []

    def starts(crashpoint: str = "") -> PlatformProcess:
        started.append(PlatformProcess(database_url, tmp_path, crashpoint))
        return started[-1]

    yield starts
    for platform in started:
        platform.kill()


@pytest.fixture
def token(database: Database) -> str:
    ada = make_actor(database, "ada")
    make_project(database, ada, "flights")
    return make_token(database, ada)


def _push(platform: PlatformProcess, token: str, key: str = "k") -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
    return httpx.post(platform.url + URL, content=CSV, headers=headers, timeout=60)


def _half_an_upload(platform: PlatformProcess, token: str) -> socket.socket:
    """A connection that has sent 70 % of what it announced."""
    connection = socket.create_connection(("127.0.0.1", platform.port))
    head = (
        f"POST {URL} HTTP/1.1\r\nHost: carrara\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(CSV)}\r\n\r\n"
    )
    connection.sendall(head.encode() + CSV[: len(CSV) * 7 // 10])
    return connection


def _count(database: Database, table: str) -> int:
    with database.transaction(EVERYTHING) as session:
        return int(session.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


def _uploads(folder: Path) -> list[Path]:
    return [path for path in (folder / "data" / "uploads").glob("*") if path.is_dir()]


def test_fault_f11_upload_cut_by_its_client(
    start: StartPlatform, token: str, database: Database, tmp_path: Path
) -> None:
    platform = start()
    connection = _half_an_upload(platform, token)
    eventually(lambda: _uploads(tmp_path), within_seconds=20, what="the upload has begun")

    connection.close()

    eventually(lambda: not _uploads(tmp_path), within_seconds=20, what="nothing is left of the upload")
    assert (_count(database, "datasets"), _count(database, "snapshots")) == (0, 0)
    assert _push(platform, token).json()["snapshot"]["number"] == 1


def test_fault_f11_upload_cut_by_a_kill_of_the_platform(
    start: StartPlatform, token: str, database: Database, tmp_path: Path
) -> None:
    platform = start()
    connection = _half_an_upload(platform, token)
    eventually(lambda: _uploads(tmp_path), within_seconds=20, what="the upload has begun")

    platform.kill()
    connection.close()

    [left] = _uploads(tmp_path)
    assert (_count(database, "datasets"), _count(database, "snapshots")) == (0, 0)
    for path in (*left.rglob("*"), left):
        os.utime(path, (0, 0))  # as it will be an hour from now
    assert _push(start(), token).status_code == 201
    assert _uploads(tmp_path) == []


def test_fault_push_killed_between_its_blobs_and_its_row(
    start: StartPlatform, token: str, database: Database, tmp_path: Path
) -> None:
    with pytest.raises(httpx.TransportError):
        _push(start("push.after_blobs"), token)

    assert any(path.is_file() for path in (tmp_path / "store" / "blobs").rglob("*"))
    assert (_count(database, "datasets"), _count(database, "snapshots")) == (0, 0)
    answer = _push(start(), token)
    assert (answer.status_code, answer.json()["is_new"]) == (201, True)


def test_fault_push_killed_after_its_commit_is_told_by_its_key(
    start: StartPlatform, token: str, database: Database
) -> None:
    with pytest.raises(httpx.TransportError):
        _push(start("push.after_commit"), token)

    assert _count(database, "snapshots") == 1
    again = _push(start(), token)
    assert (again.status_code, again.json()["is_new"]) == (201, True)
    assert again.headers["idempotency-replayed"] == "true"
    assert _count(database, "snapshots") == 1
