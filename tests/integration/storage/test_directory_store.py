"""What only the directory store can get wrong: the disk below it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.waiting import eventually

from carrara.kernel.errors import Conflict, Invalid, Unavailable
from carrara.storage.directory import DirectoryStore
from carrara.storage.factory import open_store
from carrara.storage.s3 import S3Store

_KILLED_WRITER = """
import sys
from pathlib import Path
from carrara.storage.directory import DirectoryStore
store = DirectoryStore(Path(sys.argv[1]))
size = int(sys.argv[2])
while True:
    for letter in (b"a", b"b"):
        store.put_bytes("blob", letter * size)
        print("put", flush=True)
"""

_FULL_DISK = """
import resource, sys
from pathlib import Path
from carrara.kernel.errors import Unavailable
from carrara.storage.directory import DirectoryStore
store = DirectoryStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    store.put_bytes("blob", b"x" * 5000)
except Unavailable as error:
    print(error.code, error.facts["needed_bytes"])
store.put_bytes("small", b"fits")
"""


def test_a_writer_killed_at_any_moment_leaves_a_whole_object(tmp_path: Path) -> None:
    size = 3_000_000
    for _ in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", _KILLED_WRITER, str(tmp_path), str(size)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"put\n"
        parts = tmp_path / ".parts"
        eventually(lambda parts=parts: any(parts.iterdir()), within_seconds=10, what="a part is being written")
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()

        store = DirectoryStore(tmp_path)
        content = store.get_bytes("blob")
        assert len(content) == size
        assert set(content) in ({ord("a")}, {ord("b")})
        assert [info.key for info in store.list("")] == ["blob"]
    assert store.sweep_parts(older_than_seconds=-1) >= 0
    assert list((tmp_path / ".parts").iterdir()) == []


def test_fault_f10_a_full_disk_is_named_with_the_bytes_needed_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True)

    assert done.stdout == "disk_full 5000\n"
    assert [info.key for info in DirectoryStore(tmp_path).list("")] == ["small"]
    assert list((tmp_path / ".parts").iterdir()) == []


def test_a_key_cannot_be_the_folder_of_another(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put_bytes("a", b"x")
    store.put_bytes("b/c", b"x")

    with pytest.raises(Conflict, match="folder of another"):
        store.put_bytes("a/below", b"x")
    with pytest.raises(Conflict, match="folder of another"):
        store.put_bytes("b", b"x")
    store.delete("b")

    assert [info.key for info in store.list("")] == ["a", "b/c"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written_says_so(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    (tmp_path / ".parts").chmod(0o500)

    with pytest.raises(Unavailable, match="Permission denied"):
        store.check()


def test_a_directory_that_went_away_is_unavailable_and_not_an_empty_store(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "mounted")
    store.put_bytes("a", b"x")
    (tmp_path / "mounted").rename(tmp_path / "unmounted")

    with pytest.raises(Unavailable, match="writing object"):
        store.check()
    for call in (lambda: store.get_bytes("a"), lambda: store.exists("a"), lambda: list(store.list(""))):
        with pytest.raises(Unavailable, match="has gone"):
            call()


def test_the_setting_decides_the_store(tmp_path: Path, s3_credentials: None) -> None:
    assert isinstance(open_store(str(tmp_path / "a"), s3_endpoint_url=None), DirectoryStore)
    assert isinstance(open_store(f"file://{tmp_path}/b", s3_endpoint_url=None), DirectoryStore)
    assert isinstance(open_store("s3://bucket/prefix/", s3_endpoint_url="http://127.0.0.1:9"), S3Store)
    assert (tmp_path / "a").is_dir()


@pytest.mark.parametrize(
    "setting", ["gs://bucket", "s3://", "s3://user:hunter2@bucket", "s3://bucket/../x", "file://host/x", "s3://b?x=1"]
)
def test_a_setting_that_names_no_store_is_refused_without_repeating_its_secrets(setting: str) -> None:
    with pytest.raises(Invalid) as caught:
        open_store(setting, s3_endpoint_url=None)
    assert "hunter2" not in str(caught.value)
