"""Model folders on disk: a process must come back with what it has, whatever the object store does."""

import errno
import os
import time
from pathlib import Path

import pytest

from carrara.contracts.contract import ModelContract
from carrara.contracts.release import ArtifactFile, GoldenRows, GoldenSet, ReleaseManifest, Runtime, digest_files
from carrara.inference import artifacts
from carrara.inference.artifacts import ArtifactCache
from carrara.kernel.digests import canonical_json, digest_bytes
from carrara.kernel.errors import Corrupted, Unavailable
from carrara.storage.blobs import Blobs
from carrara.storage.factory import open_store

GOLDEN = GoldenRows(columns={"a": [1]}, outputs={"prediction": [1]})


class Away:
    """A store that nobody reaches."""

    def get_bytes(self, digest: str, max_bytes: int | None = None) -> bytes:
        raise Unavailable(f"the store is away, and {digest} in it")

    def get_tree(self, files: object, folder: Path) -> None:
        raise Unavailable("the store is away")


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(open_store(str(tmp_path / "store"), s3_endpoint_url=None))


@pytest.fixture
def manifest(blobs: Blobs, tmp_path: Path) -> ReleaseManifest:
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.skops").write_bytes(b"a model")
    files = [ArtifactFile(path=file.path, digest=file.digest, size=file.size) for file in blobs.put_tree(source)]
    golden = blobs.put_bytes(canonical_json(GOLDEN.model_dump(mode="json")))
    runtime = Runtime(
        kind="python",
        flavor="sklearn",
        serialization="skops",
        python_version="3.11.7",
        environment_digest=digest_bytes(b"environment"),
    )
    return ReleaseManifest(
        project="flights",
        model="late",
        version=1,
        artifact_digest=digest_files(files),
        files=files,
        contract=ModelContract(task="regression", inputs=[]),
        golden=GoldenSet(digest=golden.digest, rows=1, absolute_tolerance=1e-9),
        runtime=runtime,
    )


def cache_of(blobs: object, tmp_path: Path) -> ArtifactCache:
    return ArtifactCache(tmp_path / "cache", blobs)  # type: ignore[arg-type]  # the same two methods


def test_what_is_on_disk_opens_while_the_store_is_away(blobs: Blobs, manifest: ReleaseManifest, tmp_path: Path) -> None:
    first = cache_of(blobs, tmp_path).open(manifest.digest(), manifest)

    again = cache_of(Away(), tmp_path).open(manifest.digest(), manifest)

    assert again == first
    assert again.golden == GOLDEN


def test_a_damaged_golden_set_is_fetched_again(blobs: Blobs, manifest: ReleaseManifest, tmp_path: Path) -> None:
    cache = cache_of(blobs, tmp_path)
    cache.open(manifest.digest(), manifest)
    (saved,) = (tmp_path / "cache").glob("*.golden")
    saved.chmod(0o600)
    saved.write_bytes(b'{"columns": {"a": [2]}, "outputs": {"prediction": [2]}}')

    with pytest.raises(Unavailable):
        cache_of(Away(), tmp_path).open(manifest.digest(), manifest)
    assert cache.open(manifest.digest(), manifest).golden == GOLDEN
    assert cache_of(Away(), tmp_path).open(manifest.digest(), manifest).golden == GOLDEN


def test_a_damaged_model_is_fetched_again(blobs: Blobs, manifest: ReleaseManifest, tmp_path: Path) -> None:
    cache = cache_of(blobs, tmp_path)
    folder = cache.open(manifest.digest(), manifest).folder
    (folder / "model.skops").chmod(0o600)
    (folder / "model.skops").write_bytes(b"another")

    cache.open(manifest.digest(), manifest)

    assert (folder / "model.skops").read_bytes() == b"a model"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO])
def test_a_machine_in_trouble_does_not_cost_the_copy(
    number: int, blobs: Blobs, manifest: ReleaseManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cache_of(blobs, tmp_path).open(manifest.digest(), manifest).folder

    def in_trouble(path: Path) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(artifacts, "digest_file", in_trouble)
    with pytest.raises(OSError, match=r"model\.skops"):
        cache_of(Away(), tmp_path).open(manifest.digest(), manifest)

    monkeypatch.undo()
    assert cache_of(Away(), tmp_path).open(manifest.digest(), manifest).folder == folder


def test_bytes_that_are_another_release_are_corrupted(blobs: Blobs, manifest: ReleaseManifest, tmp_path: Path) -> None:
    with pytest.raises(Corrupted):
        cache_of(blobs, tmp_path).open(digest_bytes(b"another"), manifest)


def test_what_nobody_wanted_for_a_day_is_removed_whole(blobs: Blobs, manifest: ReleaseManifest, tmp_path: Path) -> None:
    cache = cache_of(blobs, tmp_path)
    cache.open(manifest.digest(), manifest)
    long_ago = time.time() - 2 * 24 * 3600
    for path in (tmp_path / "cache").iterdir():
        os.utime(path, (long_ago, long_ago))

    cache.prune({manifest.digest()})
    assert len(list((tmp_path / "cache").iterdir())) == 2
    cache.prune(())
    assert list((tmp_path / "cache").iterdir()) == []
