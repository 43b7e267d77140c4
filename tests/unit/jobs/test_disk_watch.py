"""What counts as written by an attempt."""

from pathlib import Path

from tests.support.waiting import eventually

from carrara.jobs.disk_watch import DiskWatch, excess


def test_blocks_of_all_folders_count_and_links_are_not_followed(tmp_path: Path) -> None:
    folders = [tmp_path / "outputs", tmp_path / "scratch"]
    for folder in folders:
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "file").write_bytes(b"x" * 300_000)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"x" * 5_000_000)
    (folders[0] / "link").symlink_to(elsewhere)
    (folders[0] / "loop").symlink_to(folders[0])
    assert excess(folders, 1_000_000) is None
    assert excess(folders, 500_000) == "it wrote more than 500000 bytes"
    assert excess([*folders, tmp_path / "gone"], 1_000_000) is None


def test_a_sparse_file_counts_as_what_it_takes(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10 << 30)
    assert excess([tmp_path], 1_000_000) is None


def test_the_watch_complains_of_what_is_written_while_it_looks(tmp_path: Path) -> None:
    with DiskWatch([tmp_path], 1_000_000, every_seconds=0.01) as watch:
        assert watch.complaint is None
        (tmp_path / "file").write_bytes(b"x" * 2_000_000)
        eventually(lambda: watch.complaint, within_seconds=10, what="the watch complains")
