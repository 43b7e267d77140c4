"""Folders of attempts, and trees that a child left."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from carrara.contracts.jobs import JobKind
from carrara.jobs.ports import ClaimedJob
from carrara.jobs.staging import StagingArea
from carrara.kernel.ids import JobId, ProjectId, UserId, uuid7
from carrara.sandbox.scratch import remove_tree


@pytest.mark.parametrize(("user", "mode"), [(0, 0o711), (1000, 0o700)])
def test_children_with_accounts_of_their_own_get_through_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, mode: int
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    job = ClaimedJob(
        id=JobId(uuid7()),
        project_id=ProjectId(uuid7()),
        project="p",
        kind=JobKind.TRAIN,
        spec={},
        attempt=1,
        max_attempts=1,
        submitted_by=UserId(uuid7()),
        token="",
    )
    StagingArea(tmp_path / "staging").open(job)
    assert stat.S_IMODE((tmp_path / "staging").stat().st_mode) == mode


def test_giving_back_rights_follows_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, tree = tmp_path / "ours", tmp_path / "tree"
    ours.mkdir(mode=0o550)
    (tree / "closed").mkdir(parents=True)
    (tree / "closed").chmod(0o000)
    (tree / "link").symlink_to(ours)
    really, tries = shutil.rmtree, []

    def first_fails(folder: Path, *, ignore_errors: bool) -> None:
        tries.append(folder)
        if len(tries) > 1:
            really(folder, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", first_fails)
    remove_tree(tree)
    assert not tree.exists()
    assert stat.S_IMODE(ours.stat().st_mode) == 0o550
