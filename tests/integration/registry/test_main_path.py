"""From the commit of a training job to a release: registered once, validated, its evaluation asked for."""

from pathlib import Path

from tests.fakes.model_tracking import FakeTracking
from tests.support.registry import RegistryWorld, registry_world, trained_model

from carrara.contracts.jobs import JobState
from carrara.contracts.release import GoldenRows, ReleaseManifest
from carrara.persistence.database import Database
from carrara.registry.mlflow_rest import MlflowTracking
from carrara.sandbox.client import Forkserver


def test_a_trained_model_becomes_a_release(world: RegistryWorld, trained_folder: Path) -> None:
    trained = trained_model(world, trained_folder)
    world.register(world.message(trained))
    job = world.run_next_job()
    assert job.state is JobState.SUCCEEDED, job.error
    [(state, digest, document)] = world.sql(
        "SELECT v.state, r.digest, r.manifest FROM versions v JOIN releases r ON r.version_id = v.id"
    )
    manifest = ReleaseManifest.model_validate(document)
    assert (state, digest) == ("validated", manifest.digest())
    assert manifest.artifact_digest == trained.artifact_digest
    assert (manifest.runtime.flavor, manifest.runtime.serialization) == ("sklearn", "skops")
    golden = GoldenRows.model_validate_json(world.blobs.get_bytes(manifest.golden.digest))
    assert len(golden.outputs["probabilities"]) == manifest.golden.rows == 20
    assert b"scikit-learn==" in world.blobs.get_bytes(manifest.runtime.environment_digest)
    assert world.evaluations.specs == [
        {"schema_version": 1, "model": "delays", "version": 1, "slices": [], "resamples": 200, "seed": 0}
    ]
    assert world.actions() == ["version.registered", "version.validated"]


def test_delivered_three_times_it_is_registered_once(
    world: RegistryWorld, fake_tracking: FakeTracking, trained_folder: Path
) -> None:
    trained = trained_model(world, trained_folder)
    for _ in range(3):
        world.register(world.message(trained))
    project = fake_tracking.projects[world.project.id]
    assert len(project.runs) == 1
    assert list(project.models["delays"]) == [1]
    assert len(world.sql("SELECT 1 FROM versions")) == 1
    assert len(world.sql("SELECT 1 FROM jobs WHERE kind = 'validate'")) == 1


def test_the_same_with_a_real_mlflow(
    database: Database, tmp_path: Path, mlflow: MlflowTracking, forkserver: Forkserver, trained_folder: Path
) -> None:
    with registry_world(database, tmp_path, mlflow, forkserver) as world:
        trained = trained_model(world, trained_folder)
        for _ in range(2):
            world.register(world.message(trained))
        project = mlflow.of(world.project.id)
        version = project.get_version("delays", 1)
        assert version.tags["carrara.job"] == str(trained.job_id)
        kept = {file.path: file.size for file in project.list_files(project.location_of(version))}
        assert kept == {file.path: file.size for file in trained.files}
        assert world.run_next_job().state is JobState.SUCCEEDED
