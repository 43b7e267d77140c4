"""The last good route table on disk."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from carrara.contracts.routes import RouteTable
from carrara.serving.route_file import RouteFile

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TABLE = RouteTable(generation=7, endpoints=[], releases={})


def test_what_was_saved_is_found_again(tmp_path: Path) -> None:
    RouteFile(tmp_path / "new" / "routes.json").write(TABLE, AT)

    saved = RouteFile(tmp_path / "new" / "routes.json").read()

    assert saved is not None
    assert (saved.table, saved.confirmed_at) == (TABLE, AT)


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "routes.json"
    RouteFile(path).write(TABLE, AT)

    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["routes.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"confirmed_at": "2026-11-23T12:00:00Z"}',
        b'{"confirmed_at": "2026-11-23T12:00:00Z", "table": {"schema_version": 99, "generation": 1, "endpoints": [],'
        b' "releases": {}}}',
    ],
)
def test_a_file_that_cannot_be_used_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "routes.json"
    path.write_bytes(content)

    assert RouteFile(path).read() is None


def test_a_disk_that_takes_nothing_is_told_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    assert RouteFile(tmp_path / "file" / "routes.json").write(TABLE, AT)
