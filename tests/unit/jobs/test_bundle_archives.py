"""Archives that Python's own reader stumbles over."""

import io
import tarfile
from pathlib import Path

import pytest

from carrara.jobs.bundles import store_archive
from carrara.kernel.errors import Invalid
from carrara.storage.blobs import Blobs
from carrara.storage.directory import DirectoryStore


def _archive(folder: Path, name: str, **headers: str) -> Path:
    path = folder / "bundle.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        entry = tarfile.TarInfo(name)
        entry.pax_headers = headers
        entry.size = 4
        tar.addfile(entry, io.BytesIO(b"a\nb\n"))
    return path


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("train.py", {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}),
        ("train.py", {"GNU.sparse.map": "a,b"}),
        ("x" * 300 + ".py", {}),
        ("/".join(["d" * 200] * 30) + "/train.py", {}),
    ],
)
def test_an_archive_that_cannot_be_unpacked_is_the_senders_fault(
    tmp_path: Path, name: str, headers: dict[str, str]
) -> None:
    (tmp_path / "objects").mkdir()
    with pytest.raises(Invalid) as caught:
        store_archive(Blobs(DirectoryStore(tmp_path / "objects")), _archive(tmp_path, name, **headers), tmp_path)
    assert caught.value.code.startswith("bad_")
