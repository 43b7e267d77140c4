"""What is ours to start, and what the user brings."""

from pathlib import Path

import pytest

from carrara.embedded.layout import open_data_directory
from carrara.embedded.plan import AskedPorts, StackPlan, plan_stack
from carrara.kernel.errors import Invalid
from carrara.processes import PROCESSES

BROUGHT = {
    "CARRARA_DATABASE_URL": "postgresql+psycopg://u:p@db:5432/carrara",
    "CARRARA_REDIS_URL": "redis://:p@queue:6379/0",
    "CARRARA_MLFLOW_URL": "http://mlflow:5000",
}


def plan(folder: Path, environ: dict[str, str]) -> StackPlan:
    place = open_data_directory(folder / "data")
    return plan_stack(place, AskedPorts(), environ, specs=PROCESSES, say=lambda _: None)


def environment_of(made: StackPlan, name: str) -> dict[str, str]:
    return next(dict(child.environment) for child in made.children if child.spec.name == name)


def test_what_the_user_brings_has_no_child(tmp_path: Path) -> None:
    made = plan(tmp_path, BROUGHT)
    assert {child.spec.name for child in made.children} == {"migrate", "platform", "controller", "worker", "serving"}
    assert environment_of(made, "worker")["CARRARA_DATABASE_URL"] == BROUGHT["CARRARA_DATABASE_URL"]
    assert environment_of(made, "platform")["CARRARA_MLFLOW_URL"] == BROUGHT["CARRARA_MLFLOW_URL"]


def test_an_embedded_mlflow_with_a_brought_database_asks_for_a_second_one(tmp_path: Path) -> None:
    only_database = {"CARRARA_DATABASE_URL": BROUGHT["CARRARA_DATABASE_URL"]}
    with pytest.raises(Invalid, match="CARRARA_MLFLOW_DATABASE_URL"):
        plan(tmp_path, only_database)
    made = plan(tmp_path, {**only_database, "CARRARA_MLFLOW_DATABASE_URL": "postgresql+psycopg://u:p@db:5432/mlflow"})
    assert "postgres" not in {child.spec.name for child in made.children}
    assert environment_of(made, "mlflow")["CARRARA_MLFLOW_DATABASE_URL"].endswith("/mlflow")


def test_our_role_and_mlflow_get_different_databases(reachable_folder: Path) -> None:
    made = plan(reachable_folder, {})
    ours = environment_of(made, "platform")["CARRARA_DATABASE_URL"]
    mlflow = environment_of(made, "mlflow")
    assert ours.startswith("postgresql+psycopg://carrara:")
    assert mlflow["CARRARA_MLFLOW_DATABASE_URL"].startswith("postgresql+psycopg://mlflow:")
    assert "CARRARA_DATABASE_URL" not in mlflow


@pytest.mark.parametrize(
    ("setting", "artifacts"),
    [("s3://bucket/prefix/", "s3://bucket/prefix/mlflow"), ("/srv/store", "/srv/store/mlflow")],
)
def test_mlflow_keeps_its_artifacts_in_the_same_store(reachable_folder: Path, setting: str, artifacts: str) -> None:
    made = plan(reachable_folder, {"CARRARA_OBJECT_STORE": setting})
    assert environment_of(made, "mlflow")["CARRARA_MLFLOW_ARTIFACTS"] == artifacts
    assert environment_of(made, "worker")["CARRARA_OBJECT_STORE"] == setting


def test_a_relative_store_means_the_same_folder_to_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = plan(tmp_path, {**BROUGHT, "CARRARA_OBJECT_STORE": "store"})
    assert environment_of(made, "serving")["CARRARA_OBJECT_STORE"] == str(tmp_path / "store")


def test_a_port_variable_that_is_no_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="CARRARA_SERVING_PORT"):
        plan(tmp_path, {"CARRARA_SERVING_PORT": "http"})
