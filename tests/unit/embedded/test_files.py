"""Secrets, logs and the data directory on disk."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from carrara.embedded.layout import open_data_directory
from carrara.embedded.logs import rotate
from carrara.embedded.secrets import kept_secret
from carrara.kernel.errors import Unavailable


def test_a_secret_is_made_once_and_only_we_can_read_it(tmp_path: Path) -> None:
    first = kept_secret(tmp_path / "secrets", "valkey")
    assert kept_secret(tmp_path / "secrets", "valkey") == first
    assert kept_secret(tmp_path / "secrets", "mlflow") != first
    assert len(first) >= 43
    assert (tmp_path / "secrets" / "valkey").stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in (tmp_path / "secrets").iterdir()) == ["mlflow", "valkey"]


def test_an_empty_secret_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "valkey").write_text("")
    with pytest.raises(Unavailable, match="empty"):
        kept_secret(tmp_path, "valkey")


def test_a_full_log_moves_aside_while_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with log.open("ab", buffering=0) as writer:
        for number in range(5):
            writer.write(b"%d" % number * 20)
            assert rotate(log, max_bytes=10)
        writer.write(b"last")
    assert log.read_bytes() == b"last"
    assert [(tmp_path / f"worker.log.{n}").read_bytes()[:1] for n in (1, 2, 3)] == [b"4", b"3", b"2"]
    assert not (tmp_path / "worker.log.4").exists()
    assert not rotate(log, max_bytes=10)


def test_a_full_disk_is_named_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    with pytest.raises(Unavailable, match="disk full: 1 MB"):
        open_data_directory(tmp_path / "data")


def test_the_data_directory_shows_its_secrets_to_nobody(tmp_path: Path) -> None:
    place = open_data_directory(tmp_path / "data")
    for folder in (place.secrets, place.logs, place.objects, place.run.directory):
        assert folder.stat().st_mode & 0o077 == 0
    assert place.root.stat().st_mode & 0o066 == 0
