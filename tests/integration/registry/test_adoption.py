"""Versions from the stock client: what becomes a release, what is rejected and why, and none adopted twice."""

from pathlib import Path
from typing import Any

import pytest
from tests.fakes.model_tracking import FakeTracking
from tests.support.registry import RegistryWorld, adopt_folder, registry_world, trained_model

from carrara.contracts.jobs import JobState, JobView
from carrara.contracts.release import ReleaseManifest
from carrara.kernel.errors import Unavailable
from carrara.persistence.database import Database
from carrara.registry import store
from carrara.registry.adoption import AdoptionSweep
from carrara.registry.artifacts import ArtifactCopier
from carrara.sandbox.client import Forkserver


def adopted(world: RegistryWorld, folder: Path) -> tuple[JobView, Any]:
    """The validate job and the version after it."""
    adopt_folder(world, folder)
    job = world.run_next_job()
    [version] = world.sql("SELECT * FROM versions")
    return job, version


@pytest.mark.parametrize(
    ("name", "task", "rows"),
    [("adopted", "classification", 8), ("right_answer", "classification", 8), ("regressor", "regression", 6)],
)
def test_a_signed_model_becomes_a_release(
    world: RegistryWorld, model_folders: Path, name: str, task: str, rows: int
) -> None:
    job, version = adopted(world, model_folders / name)
    assert job.state is JobState.SUCCEEDED, job.error
    assert (version.state, version.task, version.serialization) == ("validated", task, "skops")
    [(document,)] = world.sql("SELECT manifest FROM releases")
    manifest = ReleaseManifest.model_validate(document)
    assert manifest.golden.rows == rows
    assert [column.name for column in manifest.contract.inputs] == ["distance", "carrier"]
    assert manifest.contract.classes == ([False, True] if task == "classification" else None)
    assert [file.path for file in manifest.files] == sorted(path.name for path in (model_folders / name).iterdir())


@pytest.mark.parametrize(
    ("name", "reason", "told"),
    [
        ("unsigned", "no_signature", "no signature"),
        ("tensor", "no_signature", "tensor"),
        ("pickled", "unsafe", "model.pkl"),
        ("doubled", "unsafe", "python_model.pkl"),
        ("no_example", "no_example", "input_example"),
        ("wrong_answer", "wrong_answer", "saved answer"),
    ],
)
def test_a_model_that_cannot_be_served_is_rejected(
    world: RegistryWorld, model_folders: Path, name: str, reason: str, told: str
) -> None:
    job, version = adopted(world, model_folders / name)
    assert job.state is JobState.FAILED
    assert (version.state, version.rejection["reason"]) == ("rejected", reason)
    assert told in version.rejection["message"]
    assert version.artifact_digest is not None
    assert world.actions() == ["version.registered", "version.rejected"]
    assert world.sql("SELECT 1 FROM releases") == []


@pytest.mark.parametrize(
    ("name", "state", "reason"),
    [
        ("pickled", "validated", None),
        ("doubled", "validated", None),
        ("noise", "rejected", "wrong_answer"),
        ("mixed", "rejected", "wrong_answer"),
    ],
)
def test_where_pickles_are_allowed_they_are_loaded_and_marked(
    database: Database,
    tmp_path: Path,
    fake_tracking: FakeTracking,
    forkserver: Forkserver,
    model_folders: Path,
    name: str,
    state: str,
    reason: str | None,
) -> None:
    with registry_world(database, tmp_path, fake_tracking, forkserver, allows_pickle=True) as world:
        job, version = adopted(world, model_folders / name)
        assert version.state == state, job.error
        assert (version.rejection or {}).get("reason") == reason
        assert version.serialization == "pickle"
        if state == "validated":
            [(document,)] = world.sql("SELECT manifest FROM releases")
            assert ReleaseManifest.model_validate(document).runtime.serialization == "pickle"


def test_the_first_copy_is_the_version_whatever_mlflow_holds_later(
    world: RegistryWorld, fake_tracking: FakeTracking, model_folders: Path, tmp_path: Path
) -> None:
    adopt_folder(world, model_folders / "unsigned")
    world.run_next_job()
    before = world.sql("SELECT artifact_digest FROM versions")
    project = fake_tracking.projects[world.project.id]
    for name in project.files:
        project.files[name] = b"other"
    [row] = world.sql("SELECT id FROM versions")
    with world.database.transaction(world.scope) as session:
        version = store.get_version(session, world.project.id, row.id)
    world.validate.copier.bring(version, tmp_path / "again", submitted_by=world.author.id)
    assert world.sql("SELECT artifact_digest FROM versions") == before
    assert (tmp_path / "again" / "MLmodel").read_bytes() != b"other"


def test_too_large_is_named_before_it_is_copied(
    world: RegistryWorld, fake_tracking: FakeTracking, model_folders: Path
) -> None:
    world.validate.copier = ArtifactCopier(world.database, world.blobs, fake_tracking, max_bytes=1000)
    _, version = adopted(world, model_folders / "adopted")
    assert version.rejection["reason"] == "too_large"
    assert "download" not in fake_tracking.calls


def test_files_that_are_elsewhere_or_gone_are_named(world: RegistryWorld, fake_tracking: FakeTracking) -> None:
    project = fake_tracking.of(world.project.id)
    project.register_model("mine")
    tracked = project.create_version("mine", "s3://bucket/x", run_id=None, tags={})
    sweep = AdoptionSweep(world.database, fake_tracking, world.jobs.submit)
    assert sweep() == 0, "a version without an author is not adopted"
    project.tag_version("mine", tracked.number, "carrara.author", str(world.author.id))
    assert sweep() == 1
    world.run_next_job()
    [version] = world.sql("SELECT * FROM versions")
    assert version.rejection["reason"] == "unreadable_source"


def test_the_sweep_adopts_once_and_leaves_trained_versions_alone(
    world: RegistryWorld, fake_tracking: FakeTracking, trained_folder: Path
) -> None:
    project = fake_tracking.of(world.project.id)
    project.register_model("mine")
    author = {"carrara.author": str(world.author.id)}
    for _ in range(3):
        project.create_version("mine", "s3://bucket/x", run_id=None, tags=author)
    trained = trained_model(world, trained_folder)
    project.register_model("delays")
    project.create_version("delays", "s3://b/x", run_id=None, tags={**author, "carrara.job": str(trained.job_id)})
    sweep = AdoptionSweep(world.database, fake_tracking, world.jobs.submit)
    assert [sweep(), sweep()] == [3, 0]
    project.create_version("mine", "s3://bucket/x", run_id=None, tags=author)
    assert [sweep(), AdoptionSweep(world.database, fake_tracking, world.jobs.submit)()] == [1, 0]
    assert [row.number for row in world.sql("SELECT number FROM versions ORDER BY number")] == [1, 2, 3, 4]


def test_mlflow_away_is_not_the_versions_fault(
    world: RegistryWorld, fake_tracking: FakeTracking, model_folders: Path
) -> None:
    adopt_folder(world, model_folders / "adopted")
    fake_tracking.away = True
    assert world.run_next_job().state is JobState.QUEUED
    with pytest.raises(Unavailable):
        AdoptionSweep(world.database, fake_tracking, world.jobs.submit)()
    fake_tracking.away = False
    world.sql("UPDATE jobs SET ready_at = now() RETURNING 1")
    assert world.run_next_job().state is JobState.SUCCEEDED
    assert len(world.sql("SELECT 1 FROM releases")) == 1
