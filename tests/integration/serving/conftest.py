"""A model that `mlflow.sklearn.save_model` wrote, live in a real serving."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.support.flights_model import CONTRACT, flights, save_with_mlflow
from tests.support.releases import Golden, TestRelease, store_release
from tests.support.serving import route
from tests.support.serving_fixtures import Town, open_town

from carrara.contracts.routes import Fallback
from carrara.inference.python_model import PythonModel, load_model


@pytest.fixture(scope="package")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_with_mlflow(tmp_path_factory.mktemp("model") / "late")


@pytest.fixture(scope="package")
def offline(model_folder: Path) -> PythonModel:
    """The model as evaluation would use it."""
    return load_model(model_folder, CONTRACT, "sklearn")


@pytest.fixture(scope="package")
def town(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, offline: PythonModel) -> Iterator[Town]:
    settings = {"CARRARA_MAX_BODY_BYTES": str(1 << 20), "CARRARA_MAX_ROWS": "1000"}
    with open_town(tmp_path_factory.mktemp("town"), settings=settings) as opened:
        rows = flights(50, seed=2)
        golden = Golden(rows, offline.predict(rows))
        lenient = CONTRACT.model_copy(update={"extra_columns": "ignore"})
        for contract in (CONTRACT, lenient):
            opened.keep(store_release(opened.blobs, model_folder, contract, golden))
        strict, loose = opened.releases.values()
        fallback = Fallback(kind="constant", prediction="on time")
        opened.publish(
            route(strict), route(loose, endpoint="loose"), route(None, fallback=fallback, endpoint="nothing-yet")
        )
        opened.wait_for(strict)
        yield opened


@pytest.fixture(scope="package")
def release(town: Town) -> TestRelease:
    return next(iter(town.releases.values()))


@pytest.fixture
def client(town: Town) -> Iterator[httpx.Client]:
    with town.serving.client() as opened:
        yield opened
