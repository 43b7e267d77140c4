"""Where the SDK looks for its platform."""

import json
from pathlib import Path

import pytest

from carrara.kernel.errors import Invalid
from carrara.sdk.connection import find_connection


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path / "config")}


def write(path: Path, **values: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def test_environment_wins_over_files(tmp_path: Path, home: dict[str, str]) -> None:
    write(tmp_path / ".carrara" / "client.json", url="http://127.0.0.1:9", token="t-file")
    environ = {**home, "CARRARA_URL": "http://env/", "CARRARA_TOKEN": "t-env"}
    found = find_connection(environ=environ, directory=tmp_path)
    assert (found.url, found.token) == ("http://env", "t-env")


def test_the_nearest_stack_is_found_from_a_folder_below(tmp_path: Path, home: dict[str, str]) -> None:
    write(
        tmp_path / ".carrara" / "client.json",
        url="http://127.0.0.1:8",
        token_file="admin-token",
        serving_url="http://s",
    )
    (tmp_path / ".carrara" / "admin-token").write_text("secret\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    found = find_connection(environ=home, directory=below)
    assert (found.url, found.token, found.serving_url) == ("http://127.0.0.1:8", "secret", "http://s")
    assert "secret" not in repr(found)


def test_the_login_is_the_last_resort(tmp_path: Path, home: dict[str, str]) -> None:
    write(Path(home["XDG_CONFIG_HOME"]) / "carrara" / "client.json", url="http://home", token="t", project="flights")
    found = find_connection(environ=home, directory=tmp_path)
    assert (found.url, found.project) == ("http://home", "flights")


def test_no_connection_says_what_to_do(tmp_path: Path, home: dict[str, str]) -> None:
    with pytest.raises(Invalid, match=r"CARRARA_URL and CARRARA_TOKEN.*carrara login"):
        find_connection(environ=home, directory=tmp_path)


def test_a_kept_token_is_never_shown_to_another_platform(tmp_path: Path, home: dict[str, str]) -> None:
    write(tmp_path / ".carrara" / "client.json", url="http://127.0.0.1:1", token="kept")
    with pytest.raises(Invalid, match="no token"):
        find_connection(url="http://elsewhere", environ=home, directory=tmp_path)


def test_a_checkout_cannot_name_a_platform_elsewhere_or_a_secret_of_mine(tmp_path: Path, home: dict[str, str]) -> None:
    (tmp_path / "secret").write_text("mine")
    write(tmp_path / ".carrara" / "client.json", url="http://127.0.0.1:1", token_file=str(tmp_path / "secret"))
    with pytest.raises(Invalid):
        find_connection(environ=home, directory=tmp_path)
    write(tmp_path / ".carrara" / "client.json", url="http://evil.example", token="t")
    with pytest.raises(Invalid):
        find_connection(environ=home, directory=tmp_path)


def test_a_file_that_others_may_write_is_not_believed(tmp_path: Path, home: dict[str, str]) -> None:
    path = tmp_path / ".carrara" / "client.json"
    write(path, url="http://127.0.0.1:1", token="t")
    assert find_connection(environ=home, directory=tmp_path).token == "t"
    path.chmod(0o666)
    with pytest.raises(Invalid):
        find_connection(environ=home, directory=tmp_path)
