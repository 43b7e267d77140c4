"""What only the S3 store can get wrong: the network, the credentials, a server that dies."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.object_store import S3Server, free_port
from tests.support.waiting import eventually

from carrara.kernel.errors import NotFound, Unavailable
from carrara.storage.factory import open_store
from carrara.storage.ports import ObjectStore

BUCKET = "a-bucket"


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[S3Server]:
    """A server that this test may kill."""
    server = S3Server(tmp_path / "nanio", free_port())
    server.start()
    server.make_bucket(BUCKET)
    yield server
    server.kill()


def test_a_wrong_secret_is_told_with_the_variables_to_check(
    s3_server: S3Server, s3_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    calls: list[Callable[[ObjectStore], object]] = [
        lambda store: store.check(),
        lambda store: store.put_bytes("a", b"x"),
        lambda store: store.get_bytes("a"),
        lambda store: store.exists("a"),
        lambda store: list(store.list("")),
    ]
    for call in calls:
        store = open_store("s3://a-bucket", s3_endpoint_url=s3_server.url)
        with pytest.raises(Unavailable, match="AWS_SECRET_ACCESS_KEY") as caught:
            call(store)
        assert caught.value.code == "store_denied"
        assert "wrong" not in str(caught.value)


def test_a_missing_bucket_is_told_and_is_no_missing_object(s3_server: S3Server, s3_credentials: None) -> None:
    store = open_store("s3://no-such-bucket-here", s3_endpoint_url=s3_server.url)

    for call in (store.check, lambda: store.get_bytes("a"), lambda: list(store.list("")), store.check):
        with pytest.raises(Unavailable, match="create the bucket") as caught:
            call()
        assert caught.value.code == "no_bucket"


def test_no_credentials_at_all_is_unavailable(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    with pytest.raises(Unavailable, match="credentials"):
        open_store("s3://a-bucket", s3_endpoint_url=s3_server.url).check()


def test_a_server_that_is_away_is_unavailable_and_comes_back(own_server: S3Server, s3_credentials: None) -> None:
    store = open_store(f"s3://{BUCKET}", s3_endpoint_url=own_server.url)
    store.put_bytes("kept", b"through the kill")

    own_server.kill()
    for call in (store.check, lambda: store.get_bytes("kept"), lambda: store.put_bytes("a", b"x")):
        with pytest.raises(Unavailable) as caught:
            call()
        assert caught.value.code == "store_away"
    own_server.start()

    store.check()
    assert store.get_bytes("kept") == b"through the kill"


def test_a_server_killed_in_the_middle_of_an_upload_leaves_no_part_of_it(
    own_server: S3Server, s3_credentials: None, tmp_path: Path
) -> None:
    store = open_store(f"s3://{BUCKET}", s3_endpoint_url=own_server.url)
    big = tmp_path / "big"
    with big.open("wb") as stream:
        stream.truncate(400 << 20)
    failures: list[BaseException] = []

    def upload() -> None:
        try:
            store.put_file("big", big)
        except Unavailable as error:
            failures.append(error)

    uploader = threading.Thread(target=upload)
    uploader.start()
    eventually(
        lambda: sum(file.stat().st_size for file in own_server.data.rglob("*") if file.is_file()) > 20 << 20,
        within_seconds=30,
        what="some parts have arrived",
        every_seconds=0.002,
    )
    own_server.kill()
    uploader.join()
    own_server.start()

    assert [failure.code for failure in failures] == ["store_away"]
    assert not store.exists("big")
    assert list(store.list("")) == []
    with big.open("wb") as stream:
        stream.truncate(20 << 20)
    store.put_file("big", big)
    assert store.size("big") == 20 << 20


def test_an_uploading_client_that_is_killed_leaves_no_part_of_its_object(
    own_server: S3Server, s3_credentials: None, tmp_path: Path
) -> None:
    big = tmp_path / "big"
    with big.open("wb") as stream:
        stream.truncate(400 << 20)
    client = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from carrara.storage.factory import open_store;"
            "open_store(sys.argv[1], s3_endpoint_url=sys.argv[2]).put_file('big', Path(sys.argv[3]))",
            f"s3://{BUCKET}",
            own_server.url,
            str(big),
        ]
    )
    eventually(
        lambda: sum(file.stat().st_size for file in own_server.data.rglob("*") if file.is_file()) > 20 << 20,
        within_seconds=30,
        what="some parts have arrived",
        every_seconds=0.002,
    )
    client.kill()
    client.wait()

    store = open_store(f"s3://{BUCKET}", s3_endpoint_url=own_server.url)
    with pytest.raises(NotFound):
        store.get_bytes("big")


def test_a_server_killed_in_the_middle_of_a_download_leaves_no_file(
    own_server: S3Server, s3_credentials: None, tmp_path: Path
) -> None:
    store = open_store(f"s3://{BUCKET}", s3_endpoint_url=own_server.url)
    big = tmp_path / "big"
    with big.open("wb") as stream:
        stream.truncate(200 << 20)
    store.put_file("big", big)

    with pytest.raises(Unavailable), store.open_stream("big") as stream:
        assert stream.read(10) == bytes(10)
        own_server.kill()
        while stream.read(1 << 20):
            pass
    with pytest.raises(Unavailable):
        store.download("big", tmp_path / "target")

    assert not (tmp_path / "target").exists()
