"""Honest code runs as it does outside: what the confinement costs must be nothing that a data scientist meets."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.sandbox.conftest import CHILDREN, limits

from carrara.sandbox.client import Forkserver
from carrara.sandbox.domain import ChildExit, ChildTask, ExitKind, Layer
from carrara.sandbox.frames import decode_message

PRELOAD = ["numpy", "pandas", "pyarrow.parquet", "sklearn.ensemble", "sklearn.linear_model", "sklearn.model_selection"]


@pytest.fixture(scope="module")
def loaded(runtime_dir: Path) -> Iterator[Forkserver]:
    """A forkserver with the libraries that workers preload."""
    with Forkserver.start(PRELOAD, runtime_dir=runtime_dir) as running:
        yield running


def task(forkserver: Forkserver, function: str, **argument: object) -> ChildTask:
    return ChildTask(
        entry=f"libraries:{function}",
        argument=argument,
        read_paths=(),
        write_paths=(),
        limits=limits(wall_seconds=120, memory_bytes=2 << 30, processes=64),
        level=forkserver.capabilities.achieved,
        import_paths=(CHILDREN,),
    )


def run(forkserver: Forkserver, wanted: ChildTask) -> tuple[list[dict[str, object]], ChildExit]:
    messages = []
    with forkserver.spawn(wanted) as child:
        while (frame := child.receive(120)) is not None:
            messages.append(decode_message(frame))
        end = child.wait(10)
        written = child.read_output()
    assert end is not None
    assert end.kind is ExitKind.FINISHED, (end, written)
    return messages, end


def test_libraries_that_were_not_preloaded_can_be_imported(forkserver: Forkserver) -> None:
    modules = ["sklearn.ensemble", "joblib", "pandas", "pyarrow.parquet", "mlflow", "mlflow.sklearn", "skops.io"]

    messages, _ = run(forkserver, task(forkserver, "import_all", modules=modules))

    assert [message["imported"] for message in messages] == modules


def test_onnx_runtime_loads(loaded: Forkserver) -> None:
    pytest.importorskip("onnxruntime")

    messages, _ = run(loaded, task(loaded, "run_onnx"))

    assert "CPUExecutionProvider" in str(messages[0]["providers"])


def test_worker_pools_and_openmp_work(loaded: Forkserver) -> None:
    messages, end = run(loaded, task(loaded, "fit_and_predict"))

    assert all(float(str(score)) > 0.9 for score in messages[0].values())
    assert set(messages[0]) == {"boosting", "forest", "search"}
    assert end.peak_memory_bytes > 0


def test_tables_are_written_and_read(loaded: Forkserver) -> None:
    messages, _ = run(loaded, task(loaded, "write_and_read_tables"))

    assert messages == [{"rows": 1000, "sum": 499_500}]


def test_a_model_is_saved_and_loaded(loaded: Forkserver) -> None:
    messages, _ = run(loaded, task(loaded, "save_and_load_model"))

    assert "MLmodel" in str(messages[0]["files"])


def test_a_pool_of_processes_works_where_semaphores_do(loaded: Forkserver) -> None:
    if not loaded.capabilities.has(Layer.MOUNT_VIEW):
        pytest.skip("semaphores are files in /dev/shm, and without a mount view that is everybody's")

    messages, _ = run(loaded, task(loaded, "use_process_pool"))

    assert messages == [{"squares": [1, 2, 3]}]


def test_children_do_not_draw_the_same_random_numbers(loaded: Forkserver) -> None:
    drawn = [run(loaded, task(loaded, "draw_random_number"))[0][0]["drawn"] for _ in range(2)]

    assert drawn[0] != drawn[1]


def test_fault_f12_a_poisoned_pickle_runs_no_program(loaded: Forkserver, tmp_path: Path) -> None:
    target = tmp_path / "planted"

    run(loaded, task(loaded, "pickle_that_bites", target=str(target)))

    assert not target.exists()
