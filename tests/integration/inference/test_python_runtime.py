"""The real runtime: confined children of a real forkserver."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.odd_model import OddModel
from tests.support.releases import ODD_CONTRACT, RunsWhenUnpickled, pickled_folder
from tests.support.runtime_contract import RuntimeContract, rows

from carrara.inference.confined import ConfinedLauncher
from carrara.inference.failures import BadModelOutput, LoadFailed, ModelCrashed, UnsafeModel
from carrara.inference.ports import ModelFolder
from carrara.inference.runtime import Deadlines, PythonRuntime

DEADLINES = Deadlines(load=20.0, predict=1.5)


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConfinedLauncher]:
    made = ConfinedLauncher(tmp_path_factory.mktemp("sandbox"), level="auto", memory_bytes=1 << 30)
    yield made
    made.close()


@pytest.fixture(scope="module")
def odd_model(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return folder(pickled_folder(tmp_path_factory.mktemp("models") / "odd", OddModel()))


def folder(path: Path, serialization: str = "pickle") -> ModelFolder:
    return ModelFolder(path, ODD_CONTRACT, "sklearn", serialization)


class TestPythonRuntime(RuntimeContract):
    @pytest.fixture
    async def runtime(self, launcher: ConfinedLauncher, odd_model: ModelFolder) -> AsyncIterator[PythonRuntime]:
        started = PythonRuntime(launcher, odd_model, DEADLINES)
        await started.start()
        yield started
        await started.close()

    async def test_a_segmentation_fault_is_told_as_one(self, runtime: PythonRuntime) -> None:
        with pytest.raises(ModelCrashed, match="SIGSEGV"):
            await runtime.predict(*rows(1.0, act="segv"))

        assert await runtime.predict(*rows(2.0)) == {"prediction": [2.0]}

    async def test_a_model_that_writes_garbage_to_the_line_is_replaced(self, runtime: PythonRuntime) -> None:
        with pytest.raises(BadModelOutput):
            await runtime.predict(*rows(1.0, act="garbage"))

        assert await runtime.predict(*rows(2.0)) == {"prediction": [2.0]}

    async def test_a_model_that_dies_again_and_again_is_trouble(self, runtime: PythonRuntime) -> None:
        for _ in range(3):
            assert runtime.trouble is None
            with pytest.raises(ModelCrashed):
                await runtime.predict(*rows(1.0, act="exit"))

        assert "died 3 times" in (runtime.trouble or "")


@pytest.mark.anyio
async def test_a_pickle_is_refused_unless_the_release_says_pickle(
    launcher: ConfinedLauncher, odd_model: ModelFolder
) -> None:
    with pytest.raises(UnsafeModel, match="only skops was allowed"):
        await PythonRuntime(launcher, folder(odd_model.path, "skops"), DEADLINES).start()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise ValueError('not today')", "not today"),
        ("import no_such_library_at_all", "no_such_library_at_all"),
        ("import os; os._exit(7)", "exit code 7"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    ],
)
async def test_a_model_that_does_not_load_says_why(
    launcher: ConfinedLauncher, tmp_path: Path, source: str, said: str
) -> None:
    broken = pickled_folder(tmp_path / "model", RunsWhenUnpickled(source))

    with pytest.raises(LoadFailed, match=said):
        await PythonRuntime(launcher, folder(broken), DEADLINES).start()


@pytest.mark.anyio
async def test_a_model_that_hangs_while_it_loads_is_killed_at_the_deadline(
    launcher: ConfinedLauncher, tmp_path: Path
) -> None:
    broken = pickled_folder(tmp_path / "model", RunsWhenUnpickled("import time; time.sleep(600)"))

    with pytest.raises(LoadFailed) as caught:
        await PythonRuntime(launcher, folder(broken), Deadlines(load=0.5, predict=1.0)).start()

    assert caught.value.code == "load_timeout"
