"""A platform cannot make `pull` write outside the folder that was asked for."""

from pathlib import Path

import pytest

from carrara.kernel.errors import Corrupted
from carrara.sdk.models import _inside


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "", ".."])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Corrupted, match="outside"):
        _inside(tmp_path, name)


def test_a_link_that_lies_there_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "into").symlink_to("/tmp")
    with pytest.raises(Corrupted):
        _inside(tmp_path, "into/x")
    assert _inside(tmp_path, "data/model.skops") == tmp_path / "data" / "model.skops"
