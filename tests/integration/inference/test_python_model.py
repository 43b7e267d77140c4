"""Loading MLflow folders without MLflow, and the one way to the frame a model sees."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from tests.support.odd_model import OddModel
from tests.support.releases import ODD_CONTRACT, pickled_folder

from carrara.contracts.contract import ColumnType, InputColumn, ModelContract
from carrara.inference.confined import ConfinedLauncher
from carrara.inference.failures import BadModelOutput, LoadFailed, ModelRaised, UnsafeModel
from carrara.inference.frames import conform, to_frame
from carrara.inference.ports import ModelFolder
from carrara.inference.python_model import load_model
from carrara.inference.runtime import Deadlines, PythonRuntime
from carrara.kernel.errors import Invalid

TYPES = {
    "integer": ("int64", "float64"),
    "number": ("float64", "float64"),
    "boolean": ("bool", "object"),
    "text": ("str", "str"),
    "timestamp": ("datetime64[us]", "datetime64[us]"),
    "date": ("datetime64[us]", "datetime64[us]"),
}
VALUES: dict[str, list[Any]] = {
    "integer": [1, 2],
    "number": [1, 2.5],
    "boolean": [True, False],
    "text": ["a", "b"],
    "timestamp": ["2013-01-01T10:00:00", "2013-01-01T10:00:00.5"],
    "date": ["2013-01-01", "2013-12-31"],
}


def contract_of(kind: str, *, nullable: bool) -> ModelContract:
    return ModelContract(task="generic", inputs=[InputColumn(name="x", type=ColumnType(kind), nullable=nullable)])


@pytest.mark.parametrize("kind", TYPES)
def test_a_dtype_depends_on_the_contract_and_never_on_the_values(kind: str) -> None:
    plain, nullable = TYPES[kind]
    values = VALUES[kind]

    assert str(to_frame({"x": values}, contract_of(kind, nullable=False))["x"].dtype) == plain
    for rows in (values, [values[0], None], [None, None], values[:1], []):
        assert str(to_frame({"x": rows}, contract_of(kind, nullable=True))["x"].dtype) == nullable


@pytest.mark.parametrize(
    ("kind", "series"),
    [
        ("integer", pd.Series([1.0, None])),
        ("integer", pd.Series([1, None], dtype="Int64")),
        ("text", pd.Series(["a", None], dtype="object")),
        ("text", pd.Series(["a", None], dtype="category")),
        ("timestamp", pd.to_datetime(pd.Series(["2013-01-01T12:00:00+02:00", None]), utc=True)),
        ("boolean", pd.Series([True, None], dtype="boolean")),
    ],
)
def test_what_parquet_gives_becomes_what_serving_gives(kind: str, series: pd.Series) -> None:
    contract = contract_of(kind, nullable=True)
    served = {"integer": 1, "text": "a", "timestamp": "2013-01-01T10:00:00", "boolean": True}[kind]

    trained_on = conform(pd.DataFrame({"x": series, "other": 0}), contract)

    pd.testing.assert_frame_equal(trained_on, to_frame({"x": [served, None]}, contract))


@pytest.mark.parametrize("columns", [{}, {"x": [None]}, {"x": ["text"]}, {"x": [1], "y": [1, 2]}])
def test_columns_that_do_not_fit_are_refused(columns: dict[str, list[Any]]) -> None:
    with pytest.raises(Invalid):
        to_frame(columns, contract_of("integer", nullable=False))


def test_the_models_own_trust_declaration_is_ignored(tmp_path: Path) -> None:
    """GHSA-w582: a model file must not decide what may be loaded from it."""
    from sklearn.preprocessing import FunctionTransformer
    from skops import io

    folder = tmp_path / "model"
    folder.mkdir()
    io.dump(FunctionTransformer(np.linalg.norm), folder / "model.skops")
    declared = io.get_untrusted_types(file=folder / "model.skops")
    section = {"pickled_model": "model.skops", "serialization_format": "skops", "skops_trusted_types": declared}
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": {"sklearn": section}}))

    assert declared
    with pytest.raises(UnsafeModel, match="does not trust"):
        load_model(folder, ODD_CONTRACT, "sklearn")


@pytest.mark.parametrize(
    "mlmodel",
    [
        "",
        "[",
        "flavors: 3",
        "flavors: {sklearn: {pickled_model: ../../etc/passwd, serialization_format: skops}}",
        "flavors: {sklearn: {pickled_model: /etc/passwd, serialization_format: skops}}",
        "flavors: {sklearn: {pickled_model: missing.skops, serialization_format: skops}}",
        "flavors: {sklearn: {serialization_format: skops}}",
        "flavors: {pytorch: {}}",
    ],
)
def test_a_folder_that_is_no_model_says_so(tmp_path: Path, mlmodel: str) -> None:
    (tmp_path / "MLmodel").write_text(mlmodel)

    with pytest.raises(LoadFailed):
        load_model(tmp_path, ODD_CONTRACT, "sklearn")


def test_garbage_in_place_of_a_skops_file_is_a_failed_load(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {sklearn: {pickled_model: m, serialization_format: skops}}")
    (tmp_path / "m").write_bytes(b"garbage")

    with pytest.raises(LoadFailed):
        load_model(tmp_path, ODD_CONTRACT, "sklearn")


def test_a_model_that_raises_or_lies_is_told_apart(tmp_path: Path) -> None:
    model = load_model(pickled_folder(tmp_path / "odd", OddModel()), ODD_CONTRACT, "sklearn", serialization="pickle")

    assert model.predict({"value": [1, 2.5]}) == {"prediction": [1.0, 2.5]}
    assert model.predict({"value": []}) == {"prediction": []}
    with pytest.raises(ModelRaised, match="KeyError"):
        model.predict({"value": [1.0], "act": ["raise"]})
    with pytest.raises(BadModelOutput):
        model.predict({"value": [1.0], "act": ["nan"]})


@pytest.fixture(scope="module")
def pyfunc_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a data scientist logs with the stock client: a Python model with a signature of narrow types."""
    folder = tmp_path_factory.mktemp("pyfunc") / "model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mlflow warns of its own affairs, also while it is imported
        import mlflow.pyfunc
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema

        class Doubler(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # mlflow is untyped
            def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
                return pd.DataFrame({"double": model_input["a"] * 2, "name": model_input["b"].fillna("nobody")})

        inputs = Schema([ColSpec("integer", "a"), ColSpec("string", "b", required=False)])
        mlflow.pyfunc.save_model(
            folder, python_model=Doubler(), signature=ModelSignature(inputs=inputs), pip_requirements=["mlflow"]
        )
    return folder


PYFUNC_CONTRACT = ModelContract(
    task="generic",
    inputs=[
        InputColumn(name="a", type=ColumnType.INTEGER),
        InputColumn(name="b", type=ColumnType.TEXT, nullable=True),
    ],
)


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConfinedLauncher]:
    made = ConfinedLauncher(tmp_path_factory.mktemp("sandbox"), level="auto", memory_bytes=2 << 30)
    yield made
    made.close()


@pytest.mark.anyio
async def test_a_pyfunc_model_answers_from_its_confined_child(launcher: ConfinedLauncher, pyfunc_folder: Path) -> None:
    model = ModelFolder(pyfunc_folder, PYFUNC_CONTRACT, "pyfunc", "other")
    runtime = PythonRuntime(launcher, model, Deadlines(load=60.0, predict=10.0))
    await runtime.start()
    try:
        answer = await runtime.predict({"a": [1, 2], "b": ["x", None]}, 2)
    finally:
        await runtime.close()

    assert answer == {"prediction": [{"double": 2, "name": "x"}, {"double": 4, "name": "nobody"}]}
