"""The contract of `ModelTracking`: run against a real MLflow and against the fake."""

import math
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.fakes.model_tracking import FakeTracking
from tests.support.mlflow_server import MlflowServer

from carrara.kernel.errors import Invalid, NotFound, TooLarge, Unavailable
from carrara.kernel.ids import ProjectId, uuid7
from carrara.registry.mlflow_http import MlflowHttp
from carrara.registry.mlflow_rest import MlflowTracking
from carrara.registry.ports import MetricPoint, ModelTracking, ProjectTracking, TrackedFile, TrackedRun

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
JOB = ("carrara.job", "0199-1")


@pytest.fixture(params=["real", "fake"])
def tracking(request: pytest.FixtureRequest) -> ModelTracking:
    if request.param == "fake":
        return FakeTracking()
    real: MlflowTracking = request.getfixturevalue("mlflow")
    return real


@pytest.fixture
def project(tracking: ModelTracking) -> ProjectTracking:
    return tracking.of(ProjectId(uuid7()))


def run_with_file(project: ProjectTracking, folder: Path) -> TrackedRun:
    run = project.create_run(project.experiment("delays"), "one", tags=dict([JOB]), started_at=NOW)
    file = folder / "MLmodel"
    file.write_bytes(b"flavors: {}")
    project.upload(run.location, "model/MLmodel", file)
    project.upload(run.location, "model/data/ä b.bin", file)
    return run


def test_an_experiment_of_one_name_is_one(project: ProjectTracking) -> None:
    assert project.experiment("delays") == project.experiment("delays")
    assert project.experiment("delays") != project.experiment("fares")


def test_a_run_is_found_by_its_tag_and_only_by_it(project: ProjectTracking) -> None:
    experiment = project.experiment("delays")
    run = project.create_run(experiment, "one", tags=dict([JOB]), started_at=NOW)
    assert project.find_run(experiment, JOB) == run
    assert project.find_run(experiment, (JOB[0], "other")) is None


def test_logging_twice_is_logging_once(project: ProjectTracking) -> None:
    run = project.create_run(project.experiment("delays"), "one", tags={}, started_at=NOW)
    params = {f"p{number}": "x" * 7000 for number in range(120)} | {"bad|näme/../": "1"}
    points = [MetricPoint("auc", 0.5 + step / 1e4, step, NOW + timedelta(seconds=step)) for step in range(1000)]
    odd = [MetricPoint("loss $", value, 0, NOW) for value in (math.inf,)]
    for _ in range(2):
        project.log(run.id, params=params, metrics=[*points, *odd])
    project.finish_run(run.id, ended_at=NOW)


def test_files_come_back_as_they_were(project: ProjectTracking, tmp_path: Path) -> None:
    run = run_with_file(project, tmp_path)
    assert project.list_files(f"{run.location}/model") == [
        TrackedFile("MLmodel", 11),
        TrackedFile("data/ä b.bin", 11),
    ]
    assert project.download(f"{run.location}/model", "data/ä b.bin", tmp_path / "back", max_bytes=11) == 11
    assert (tmp_path / "back").read_bytes() == b"flavors: {}"


def test_a_file_over_the_limit_is_too_large(project: ProjectTracking, tmp_path: Path) -> None:
    run = run_with_file(project, tmp_path)
    with pytest.raises(TooLarge):
        project.download(run.location, "model/MLmodel", tmp_path / "back", max_bytes=10)


def test_a_file_that_is_not_there_is_not_found(project: ProjectTracking, tmp_path: Path) -> None:
    run = run_with_file(project, tmp_path)
    assert project.list_files(f"{run.location}/nothing") == []
    with pytest.raises(NotFound):
        project.download(run.location, "model/nothing", tmp_path / "back", max_bytes=10)


def test_versions_are_numbered_and_found_by_tag(project: ProjectTracking, tmp_path: Path) -> None:
    run = run_with_file(project, tmp_path)
    source = f"{run.location}/model"
    for _ in range(2):
        project.register_model("delays", "how late")
    first = project.create_version("delays", source, run_id=run.id, tags=dict([JOB]), description="a first")
    second = project.create_version("delays", f"runs:/{run.id}/model", run_id=run.id, tags={})
    assert (first.number, second.number) == (1, 2)
    assert project.find_version("delays", JOB) == project.get_version("delays", 1) == first
    assert project.find_version("delays", (JOB[0], "other")) is None
    assert [version.number for version in project.versions()] == [2, 1]
    assert [project.location_of(version) for version in (first, second)] == [source, source]
    project.tag_version("delays", 2, "k", "v")
    assert project.get_version("delays", 2).tags == {"k": "v"}
    project.set_alias("delays", "live", 2)
    for _ in range(2):
        project.drop_alias("delays", "live")


def test_what_is_not_there_is_not_found(project: ProjectTracking) -> None:
    with pytest.raises(NotFound):
        project.get_version("nothing", 1)
    with pytest.raises(NotFound):
        project.create_version("nothing", "s3://bucket/x", run_id=None, tags={})
    assert project.find_version("nothing", JOB) is None


def test_a_source_elsewhere_is_named(project: ProjectTracking) -> None:
    project.register_model("delays")
    version = project.create_version("delays", "s3://bucket/x", run_id=None, tags={})
    with pytest.raises(Invalid) as caught:
        project.location_of(version)
    assert caught.value.code == "unreadable_source"


def test_a_project_does_not_see_another(tracking: ModelTracking, project: ProjectTracking, tmp_path: Path) -> None:
    run = run_with_file(project, tmp_path)
    project.register_model("delays")
    version = project.create_version("delays", f"{run.location}/model", run_id=run.id, tags=dict([JOB]))
    other = tracking.of(ProjectId(uuid7()))
    other.register_model("delays")
    assert list(other.versions()) == []
    assert other.find_version("delays", JOB) is None
    with pytest.raises(NotFound):
        other.location_of(version)
    with pytest.raises(NotFound):
        other.log(run.id, params={"a": "1"}, metrics=[])
    with pytest.raises((Invalid, NotFound)):
        other.create_version("delays", f"{run.location}/model", run_id=run.id, tags={})
    with pytest.raises(Invalid):
        other.download(run.location, "model/MLmodel", tmp_path / "stolen", max_bytes=100)
    with pytest.raises(Invalid):
        other.upload(run.location, "model/MLmodel", tmp_path / "MLmodel")


def test_a_server_that_is_away_is_unavailable() -> None:
    with closing(MlflowHttp("http://127.0.0.1:9", None)) as http, pytest.raises(Unavailable, match="did not answer"):
        MlflowTracking(http).of(ProjectId(uuid7()))


def test_a_wrong_secret_is_named(mlflow_server: MlflowServer) -> None:
    with (
        closing(MlflowHttp(mlflow_server.url, "wrong")) as http,
        pytest.raises(Unavailable, match="CARRARA_MLFLOW_SECRET"),
    ):
        MlflowTracking(http).of(ProjectId(uuid7()))
