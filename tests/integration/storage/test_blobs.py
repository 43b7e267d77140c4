"""Blobs prove themselves, on either kind of store."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from carrara.kernel.digests import Digest, digest_bytes
from carrara.kernel.errors import Conflict, Corrupted, Invalid, NotFound, TooLarge
from carrara.storage.blobs import Blobs, TreeFile, digest_of
from carrara.storage.ports import ObjectStore

CONTENT = b"the quarry"


@pytest.fixture
def blobs(store: ObjectStore) -> Blobs:
    return Blobs(store)


def _damage(store: ObjectStore, digest: str, content: bytes) -> None:
    text = digest.removeprefix("sha256:")
    store.put_bytes(f"blobs/sha256/{text[:2]}/{text[2:]}", content)


def test_the_same_bytes_have_one_name_and_one_object(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)

    first = blobs.put_bytes(CONTENT)
    second = blobs.put_file(tmp_path / "file")

    assert first == second
    assert first.digest == digest_bytes(CONTENT)
    assert [digest_of(info) for info in blobs.list()] == [first.digest]
    assert blobs.get_bytes(first.digest) == CONTENT
    assert blobs.verify(first.digest) == len(CONTENT)
    assert blobs.exists(first.digest)


def test_a_download_is_verified_before_its_name_appears(blobs: Blobs, store: ObjectStore, tmp_path: Path) -> None:
    digest = blobs.put_bytes(CONTENT).digest
    assert blobs.download(digest, tmp_path / "good") == len(CONTENT)
    assert (tmp_path / "good").read_bytes() == CONTENT

    _damage(store, digest, b"the quarrY")

    before = set(tmp_path.rglob("*"))
    with pytest.raises(Corrupted) as caught:
        blobs.download(digest, tmp_path / "bad")
    assert caught.value.facts["expected"] == digest
    assert set(tmp_path.rglob("*")) == before
    with pytest.raises(Corrupted):
        blobs.get_bytes(digest)
    with pytest.raises(Corrupted):
        blobs.verify(digest)


def test_a_blob_cut_short_is_healed_by_putting_it_again(blobs: Blobs, store: ObjectStore) -> None:
    digest = blobs.put_bytes(CONTENT).digest
    _damage(store, digest, b"the")

    blobs.put_bytes(CONTENT)

    assert blobs.get_bytes(digest) == CONTENT


def test_what_is_missing_or_no_digest_is_told_apart(blobs: Blobs, tmp_path: Path) -> None:
    absent = digest_bytes(b"absent")
    for call in (
        lambda: blobs.get_bytes(absent),
        lambda: blobs.download(absent, tmp_path / "x"),
        lambda: blobs.verify(absent),
    ):
        with pytest.raises(NotFound, match=absent):
            call()
    assert not blobs.exists(absent)
    for wrong in ("", "sha256:abc", "md5:" + "0" * 64, "sha256:" + "0" * 64 + "\n", "sha256:../../" + "0" * 58):
        with pytest.raises(Invalid, match="not a digest"):
            blobs.get_bytes(wrong)


def test_a_limit_holds(blobs: Blobs) -> None:
    digest = blobs.put_bytes(CONTENT).digest

    with pytest.raises(TooLarge):
        blobs.get_bytes(digest, max_bytes=9)


def test_a_folder_comes_back_as_it_was(blobs: Blobs, tmp_path: Path) -> None:
    source = tmp_path / "model"
    (source / "code" / "deep").mkdir(parents=True)
    (source / "MLmodel").write_text("flavors")
    (source / "code" / "deep" / "größe.py").write_text("x = 1\n")
    (source / "code" / "empty.bin").write_bytes(b"")

    files = blobs.put_tree(source)
    blobs.get_tree(files, tmp_path / "copy")

    assert [file.path for file in files] == ["MLmodel", "code/deep/größe.py", "code/empty.bin"]
    for file in files:
        assert (tmp_path / "copy" / file.path).read_bytes() == (source / file.path).read_bytes()
    assert sum(1 for found in (tmp_path / "copy").rglob("*") if found.is_file()) == 3


def test_links_and_devices_are_refused_and_nothing_is_followed(blobs: Blobs, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("password")
    plans = {
        "link to a file": lambda folder: (folder / "x").symlink_to(secret),
        "link to a folder": lambda folder: (folder / "x").symlink_to(tmp_path),
        "pipe": lambda folder: os.mkfifo(folder / "x"),
        "dangling": lambda folder: (folder / "x").symlink_to("nowhere"),
    }
    for name, make in plans.items():
        folder = tmp_path / name
        folder.mkdir()
        make(folder)
        with pytest.raises(Invalid, match="link or a device"):
            blobs.put_tree(folder)
    (tmp_path / "root link").symlink_to(tmp_path / "pipe")
    with pytest.raises(Invalid, match="not a folder"):
        blobs.put_tree(tmp_path / "root link")
    with pytest.raises(Invalid, match="link"):
        blobs.put_file(tmp_path / "link to a file" / "x")
    assert list(blobs.list()) == []


def test_a_folder_over_the_limit_is_refused_before_anything_is_stored(blobs: Blobs, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_bytes(bytes(6))
    (folder / "b").write_bytes(bytes(6))

    with pytest.raises(TooLarge):
        blobs.put_tree(folder, max_bytes=11)

    assert list(blobs.list()) == []


@pytest.mark.parametrize(
    "path",
    ["", "..", "../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a/.", "a\\..\\b", "a\x00b", "a\nb", "x" * 1025],
    ids=ascii,
)
def test_paths_that_escape_are_refused_before_anything_is_written(blobs: Blobs, tmp_path: Path, path: str) -> None:
    blob = blobs.put_bytes(CONTENT)
    files = [TreeFile("fine", blob.digest, blob.size), TreeFile(path, blob.digest, blob.size)]

    with pytest.raises(Invalid) as caught:
        blobs.get_tree(files, tmp_path / "target")

    assert caught.value.code == "bad_tree"
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("paths", [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a/b/c", "a")])
def test_paths_that_cannot_both_be_there_are_refused(blobs: Blobs, tmp_path: Path, paths: tuple[str, str]) -> None:
    blob = blobs.put_bytes(CONTENT)

    with pytest.raises(Invalid):
        blobs.get_tree([TreeFile(path, blob.digest, blob.size) for path in paths], tmp_path / "target")


def test_a_folder_is_never_written_over_another(blobs: Blobs, tmp_path: Path) -> None:
    blob = blobs.put_bytes(CONTENT)
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "link").symlink_to(tmp_path)

    with pytest.raises(Conflict, match="not empty"):
        blobs.get_tree([TreeFile("link/x", blob.digest, blob.size)], tmp_path / "target")


def test_a_missing_blob_of_a_folder_names_its_digest(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="sha256:1111"):
        blobs.get_tree([TreeFile("a", Digest("sha256:" + "1" * 64), 1)], tmp_path / "target")


def test_a_file_that_changes_while_it_is_stored_is_refused(blobs: Blobs, store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")

    class ChangingStore:
        """The real store, with a writer that is faster than we are."""

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        def put_file(self, key: str, source: Path) -> None:
            path.write_bytes(b"after!!")
            store.put_file(key, source)

    with pytest.raises(Conflict, match="changed while"):
        Blobs(ChangingStore()).put_file(path)

    assert list(blobs.list()) == []


def test_a_full_disk_names_the_bytes_needed_on_download(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path;"
        "from carrara.kernel.errors import Unavailable;"
        "from carrara.storage.blobs import Blobs; from carrara.storage.directory import DirectoryStore\n"
        "root = Path(sys.argv[1]); blobs = Blobs(DirectoryStore(root / 'store'))\n"
        "digest = blobs.put_bytes(b'x' * 5000).digest\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: blobs.download(digest, root / 'target')\n"
        "except Unavailable as error: print(error.code, error.facts['needed_bytes'])\n"
        "print(sorted(path.name for path in root.iterdir()))\n"
    )

    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)

    assert done.stdout == "disk_full 5000\n['store']\n"
