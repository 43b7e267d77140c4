"""The composition of a serving process: which store, which cache, which runtime."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from carrara.inference.artifacts import ArtifactCache
from carrara.inference.confined import ConfinedLauncher
from carrara.inference.ports import ModelFolder, Runtime
from carrara.inference.runtime import Deadlines, PythonRuntime
from carrara.inference.slot import SlotLoader
from carrara.kernel.clock import SystemClock
from carrara.kernel.config import Settings
from carrara.storage.blobs import Blobs
from carrara.storage.factory import open_store


@dataclass(frozen=True)
class ServingParts:
    """`routes_path`: where the last good route table is kept. `close` ends what `loader` has started."""

    loader: SlotLoader
    routes_path: Path
    close: Callable[[], None]


def compose(settings: Settings, *, instance: str, index: int) -> ServingParts:
    """The parts of process `index` of an instance. Models are shared by its processes, sandboxes are not."""
    folder = settings.data_dir.absolute() / "serving" / instance
    blobs = Blobs(open_store(settings.required("object_store"), s3_endpoint_url=settings.s3_endpoint_url))
    launcher = ConfinedLauncher(
        folder / f"sandbox-{index}", level=settings.sandbox_level, memory_bytes=settings.model_memory_bytes
    )
    deadlines = Deadlines(load=settings.model_load_timeout_seconds, predict=settings.predict_timeout_seconds)

    async def start_runtime(model: ModelFolder) -> Runtime:
        runtime = PythonRuntime(launcher, model, deadlines)
        await runtime.start()
        return runtime

    loader = SlotLoader(ArtifactCache(folder / "models", blobs), start_runtime, SystemClock(), settings.max_rows)
    return ServingParts(loader, folder / "routes.json", launcher.close)
