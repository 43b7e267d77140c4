"""What every object store promises; run against the directory and against a real S3 server."""

import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from carrara.kernel.errors import Invalid, NotFound, TooLarge
from carrara.storage.ports import ObjectStore

HOSTILE_KEYS = [
    "",
    "/",
    "/etc/passwd",
    "../../x",
    "a/../b",
    "a/./b",
    "a//b",
    "a/",
    "./a",
    ".parts/a",
    "a/.hidden",
    "-rf",
    "a\x00b",
    "a\nb",
    "a b",
    "a\\b",
    "%2e%2e/x",
    "a;b",
    "a#b",
    "a?b",
    "<script>",
    "=cmd()",
    "é",
    "\u202egpj",
    "\ud800",
    "x" * 201,
    "/".join(["x" * 100] * 10),
]


def test_what_was_put_is_got(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from a file")

    store.put_bytes("a/one", b"from memory")
    store.put_file("a/two", tmp_path / "file")
    store.put_bytes("a/empty", b"")

    assert store.get_bytes("a/one") == b"from memory"
    assert store.get_bytes("a/two") == b"from a file"
    assert store.get_bytes("a/empty") == b""
    assert store.size("a/two") == 11


def test_thirty_megabytes_survive_the_way_there_and_back(store: ObjectStore, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(os.urandom(30 << 20))

    store.put_file("big", big)
    store.put_bytes("big-from-memory", big.read_bytes())
    store.download("big", tmp_path / "back")

    assert (tmp_path / "back").read_bytes() == big.read_bytes()
    assert store.get_bytes("big-from-memory") == big.read_bytes()
    with store.open_stream("big") as stream:
        assert b"".join(iter(lambda: stream.read(1_000_003), b"")) == big.read_bytes()


def test_a_second_put_replaces_the_whole_object(store: ObjectStore) -> None:
    store.put_bytes("logs/x", b"a long first version")

    store.put_bytes("logs/x", b"short")

    assert store.get_bytes("logs/x") == b"short"
    assert [info.key for info in store.list("logs/")] == ["logs/x"]


def test_a_missing_object_is_not_found(store: ObjectStore, tmp_path: Path) -> None:
    store.put_bytes("folder/there", b"x")

    for key in ("missing", "folder", "folder/there/below", "folder/missing"):
        with pytest.raises(NotFound, match=key):
            store.get_bytes(key)
        with pytest.raises(NotFound):
            store.size(key)
        with pytest.raises(NotFound), store.open_stream(key):
            pass
        with pytest.raises(NotFound):
            store.download(key, tmp_path / "target")
        assert not store.exists(key)
    assert list(tmp_path.glob("*target*")) == []


def test_more_than_the_limit_is_refused_before_it_is_read(store: ObjectStore) -> None:
    store.put_bytes("x", b"12345")

    assert store.get_bytes("x", max_bytes=5) == b"12345"
    with pytest.raises(TooLarge) as caught:
        store.get_bytes("x", max_bytes=4)
    assert caught.value.facts == {"size": 5, "limit": 4}


def test_listing_is_in_the_byte_order_of_keys_and_by_text_prefix(store: ObjectStore) -> None:
    keys = ["a-b", "a/b", "a/b-c", "a/bd/e", "a0", "ab", "b", "b@1/x", "b_/x"]
    for key in reversed(keys):
        store.put_bytes(key, key.encode())

    assert [info.key for info in store.list("")] == sorted(keys)
    assert [info.key for info in store.list("a/")] == ["a/b", "a/b-c", "a/bd/e"]
    assert [info.key for info in store.list("a/b")] == ["a/b", "a/b-c", "a/bd/e"]
    assert [info.key for info in store.list("a/bd/e")] == ["a/bd/e"]
    assert [info.key for info in store.list("b")] == ["b", "b@1/x", "b_/x"]
    assert list(store.list("nothing/here")) == []


def test_listing_tells_size_and_time(store: ObjectStore) -> None:
    store.put_bytes("x", b"12345")

    [info] = store.list("x")

    assert info.size == 5
    assert abs(info.modified_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_delete_removes_and_is_silent_about_what_is_not_there(store: ObjectStore) -> None:
    store.put_bytes("a/b/c", b"x")
    store.put_bytes("a/d", b"x")

    store.delete("a/b/c")
    store.delete("a/b/c")
    store.delete("never/was")

    assert [info.key for info in store.list("")] == ["a/d"]


@pytest.mark.parametrize("key", HOSTILE_KEYS, ids=ascii)
def test_hostile_keys_are_refused_by_every_method(store: ObjectStore, tmp_path: Path, key: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    calls = [
        lambda: store.put_bytes(key, b"x"),
        lambda: store.put_file(key, tmp_path / "file"),
        lambda: store.get_bytes(key),
        lambda: store.download(key, tmp_path / "target"),
        lambda: store.open_stream(key).__enter__(),
        lambda: store.exists(key),
        lambda: store.size(key),
        lambda: store.delete(key),
    ]
    for call in calls:
        with pytest.raises(Invalid) as caught:
            call()
        assert caught.value.code == "bad_key"
    if key not in ("", "a/"):
        with pytest.raises(Invalid):
            store.list(key)
    assert list(store.list("")) == []


def test_readers_see_the_old_object_or_the_new_never_a_part(store: ObjectStore) -> None:
    versions = [bytes([number]) * 200_000 for number in range(8)]
    store.put_bytes("k", versions[0])
    seen: list[bytes] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(store.get_bytes("k"))

    reader = threading.Thread(target=read)
    reader.start()
    for version in versions:
        store.put_bytes("k", version)
    done.set()
    reader.join()

    assert seen
    assert set(seen) <= set(versions)


def test_puts_and_deletes_side_by_side_do_not_hurt_each_other(store: ObjectStore) -> None:
    failures: list[BaseException] = []

    def churn(name: str) -> None:
        try:
            for number in range(25):
                store.put_bytes(f"shared/deep/{name}", bytes([number]))
                store.delete(f"shared/deep/{name}")
            store.put_bytes(f"shared/deep/{name}", b"last")
        except BaseException as error:  # noqa: BLE001  # handed to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=churn, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert [info.key for info in store.list("shared/")] == [f"shared/deep/w{number}" for number in range(4)]


def test_check_passes_and_leaves_nothing(store: ObjectStore) -> None:
    store.check()

    assert list(store.list("")) == []
