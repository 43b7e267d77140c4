"""Real PostgreSQL, Valkey and MLflow under the supervisor: what was acknowledged is there after every kill."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from tests.support.small_platform import SmallPlatform, none_alive
from tests.support.waiting import eventually

from carrara.embedded.accounts import popen_options
from carrara.embedded.mlflow_server import SECRET_HEADER
from carrara.embedded.postgres_cluster import cluster_in, sqlalchemy_url
from carrara.embedded.probes import Probe, answers
from carrara.processes import ProbeKind

NO_MLFLOW = {"CARRARA_MLFLOW_URL": "http://127.0.0.1:1"}


@pytest.fixture
def data_dir(reachable_folder: Path) -> Path:
    return reachable_folder / "data"


@pytest.fixture
def platform(data_dir: Path) -> Iterator[SmallPlatform]:
    with SmallPlatform(data_dir, environment=NO_MLFLOW) as running:
        running.wait_until_ready()
        yield running


def connect(platform: SmallPlatform) -> psycopg.Connection[tuple[int]]:
    password = (platform.place.secrets / "postgres-carrara").read_text().strip()
    url = sqlalchemy_url("carrara", password, port_of(platform, "postgres"), "carrara")
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True, connect_timeout=5)


def port_of(platform: SmallPlatform, name: str) -> int:
    return {row.name: row.probe.port for row in platform.record.processes}[name]


def valkey(platform: SmallPlatform) -> "redis.Redis":
    password = (platform.place.secrets / "valkey").read_text().strip()
    return redis.Redis(port=port_of(platform, "valkey"), password=password, socket_timeout=5, decode_responses=True)


def count(platform: SmallPlatform) -> int:
    with connect(platform) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
    assert row is not None
    return row[0]


def write_rows(platform: SmallPlatform, rows: int) -> None:
    with connect(platform) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (number integer)")
        connection.execute("INSERT INTO kept SELECT generate_series(1, %s)", [rows])


def test_rows_survive_the_kill_of_postgres(platform: SmallPlatform) -> None:
    write_rows(platform, 1000)
    before = platform.identity_of("postgres")
    os.kill(before.pid, signal.SIGKILL)
    platform.wait_until_again("postgres", before)
    assert count(platform) == 1000


def test_rows_survive_the_kill_of_everything_at_once(platform: SmallPlatform, data_dir: Path) -> None:
    write_rows(platform, 1000)
    port = port_of(platform, "postgres")
    family = psutil.Process(platform.process.pid).children(recursive=True)
    everyone = platform.identities()
    for process in [psutil.Process(platform.process.pid), *family]:
        with contextlib.suppress(psutil.NoSuchProcess):  # the kernel may have been faster
            process.kill()
    platform.process.wait()
    with SmallPlatform(data_dir, environment=NO_MLFLOW) as again:
        again.wait_until_ready()
        assert none_alive(everyone)
        assert count(again) == 1000
        assert port_of(again, "postgres") == port


def test_a_postgres_that_outlived_its_supervisor_is_stopped_before_the_next(
    platform: SmallPlatform, data_dir: Path
) -> None:
    write_rows(platform, 10)
    port = port_of(platform, "postgres")
    platform.stop()
    cluster = cluster_in(platform.place.postgres, platform.place.secrets)
    orphan = subprocess.Popen(
        cluster.argv(port),
        env=cluster.environment,
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **popen_options(cluster.places.account),
    )
    probe = Probe(ProbeKind.POSTGRES, port)
    eventually(
        lambda: asyncio.run(answers(probe, platform.place.secrets)), within_seconds=10, what="the orphan answers"
    )
    with SmallPlatform(data_dir, environment=NO_MLFLOW) as again:
        again.wait_until_ready()
        assert orphan.wait(timeout=5) == 0
        assert count(again) == 10


def test_a_pid_file_that_names_a_stranger_does_not_keep_postgres_from_starting(
    platform: SmallPlatform, data_dir: Path
) -> None:
    write_rows(platform, 10)
    pid_file = data_dir / "postgres" / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    platform.stop()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    with SmallPlatform(data_dir, environment=NO_MLFLOW) as again:
        again.wait_until_ready()
        assert count(again) == 10


def test_postgres_is_closed_to_whoever_has_no_password(platform: SmallPlatform) -> None:
    port = port_of(platform, "postgres")
    mlflow_password = (platform.place.secrets / "postgres-mlflow").read_text().strip()
    for user, password, database in (("carrara", "wrong", "carrara"), ("mlflow", mlflow_password, "carrara")):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(host="127.0.0.1", port=port, user=user, password=password, dbname=database)


def test_keys_survive_the_kill_of_valkey_and_a_cut_tail(platform: SmallPlatform, data_dir: Path) -> None:
    with valkey(platform) as client:
        client.set("bell", "rung")
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        eventually(
            lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0, within_seconds=5, what="it is on the disk"
        )
    before = platform.identity_of("valkey")
    os.kill(before.pid, signal.SIGKILL)
    platform.wait_until_again("valkey", before)
    with valkey(platform) as client:
        assert client.get("bell") == "rung"
    platform.stop()
    tail = next((data_dir / "valkey" / "appendonlydir").glob("*.incr.aof"))
    with tail.open("ab") as stream:
        stream.write(b"*3\r\n$3\r\nSET\r\n$4\r\nhal")
    with SmallPlatform(data_dir, environment=NO_MLFLOW) as again:
        again.wait_until_ready()
        with valkey(again) as client:
            assert client.get("bell") == "rung"


def test_valkey_starts_without_its_files_when_they_are_beyond_repair(platform: SmallPlatform, data_dir: Path) -> None:
    with valkey(platform) as client:
        client.set("bell", "rung")
    platform.stop()
    for part in (data_dir / "valkey" / "appendonlydir").glob("*.aof"):
        part.write_bytes(b"not a command\r\n" * 100)
    with SmallPlatform(data_dir, environment=NO_MLFLOW) as again:
        again.wait_until_ready()
        assert any("broken" in event.get("message", "") for event in again.events)
        with valkey(again) as client:
            assert client.ping()


def test_valkey_is_closed_to_whoever_has_no_password(platform: SmallPlatform) -> None:
    with socket.create_connection(("127.0.0.1", port_of(platform, "valkey")), timeout=5) as stranger:
        stranger.sendall(b"PING\r\n")
        assert stranger.recv(100).startswith(b"-NOAUTH")


def ask_mlflow(
    platform: SmallPlatform, path: str, body: object = None, *, secret: str | None = None
) -> dict[str, object]:
    secret = secret if secret is not None else (platform.place.secrets / "mlflow").read_text().strip()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port_of(platform, 'mlflow')}/api/2.0/mlflow/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={SECRET_HEADER: secret, "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, object] = json.loads(answer.read())
        return found


def test_mlflow_keeps_its_own_database_over_a_kill_and_answers_nobody_else(data_dir: Path) -> None:
    with SmallPlatform(data_dir, environment={}) as platform:
        platform.wait_until_ready(within_seconds=120)
        made = ask_mlflow(platform, "registered-models/create", {"name": "late"})
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask_mlflow(platform, "registered-models/get?name=late", secret="wrong")
        before = platform.identity_of("mlflow")
        os.kill(before.pid, signal.SIGKILL)
        platform.wait_until_again("mlflow", before, within_seconds=120)
        assert ask_mlflow(platform, "registered-models/get?name=late") == made
        with connect(platform) as connection:
            tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        assert tables == (0,)
