"""What a release that cannot be loaded leaves behind: nothing."""

import platform
from pathlib import Path

import pytest
from tests.fakes.runtime import FakeRuntime
from tests.fakes.slot_loader import release

from carrara.contracts.release import GoldenRows, ReleaseManifest
from carrara.inference import slot
from carrara.inference.artifacts import VerifiedArtifact
from carrara.inference.ports import ModelFolder, Runtime
from carrara.inference.slot import SlotLoader
from carrara.kernel.clock import SystemClock
from carrara.kernel.digests import Digest

pytestmark = pytest.mark.anyio


class Cached:
    """Every release is on disk."""

    def open(self, digest: str, manifest: ReleaseManifest) -> VerifiedArtifact:
        golden = GoldenRows(columns={"value": [1.0]}, outputs={"prediction": [1.0]})
        return VerifiedArtifact(Path("nowhere"), Digest(digest), golden)


async def test_a_contract_that_cannot_be_decoded_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started = FakeRuntime()

    async def start(_: ModelFolder) -> Runtime:
        return started

    def no_decoder(*_: object, **__: object) -> None:
        raise KeyError("a type that nobody knows")

    monkeypatch.setattr(slot, "RequestDecoder", no_decoder)
    wanted = release(1)
    here = wanted.manifest.runtime.model_copy(update={"python_version": platform.python_version()})
    loader = SlotLoader(Cached(), start, SystemClock(), 10)  # type: ignore[arg-type]  # the one method it has

    with pytest.raises(KeyError):
        await loader.load(wanted.digest, wanted.manifest.model_copy(update={"runtime": here}))

    assert started.is_closed
