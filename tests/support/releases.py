"""Releases for tests: real model folders in a real store, with the manifest that registration would write."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import yaml
from tests.support import odd_model

from carrara.contracts.contract import ColumnType, InputColumn, ModelContract
from carrara.contracts.release import ArtifactFile, GoldenRows, GoldenSet, ReleaseManifest, Runtime, digest_files
from carrara.kernel.digests import digest_json
from carrara.storage.blobs import Blobs

ODD_CONTRACT = ModelContract(
    task="regression",
    inputs=[
        InputColumn(name="value", type=ColumnType.NUMBER),
        InputColumn(name="act", type=ColumnType.TEXT, nullable=True),
        InputColumn(name="seconds", type=ColumnType.NUMBER, nullable=True),
    ],
    example={"value": 1.0, "act": "ok", "seconds": 0.0},
)


@dataclass(frozen=True)
class Golden:
    """Rows and the answers expected for them."""

    columns: Mapping[str, list[Any]]
    outputs: Mapping[str, list[Any]]
    tolerance: float = 1e-9


@dataclass(frozen=True)
class TestRelease:
    """A stored release. `instance` is a row that it can answer."""

    __test__ = False

    digest: str
    manifest: ReleaseManifest
    instance: Mapping[str, Any] = field(default_factory=lambda: {"value": 1.0})


def store_release(
    blobs: Blobs,
    folder: Path,
    contract: ModelContract,
    golden: Golden,
    *,
    version: int = 1,
    serialization: str = "skops",
    flavor: str = "sklearn",
) -> TestRelease:
    """Puts a model folder and its golden set into the store."""
    files = [ArtifactFile(path=file.path, digest=file.digest, size=file.size) for file in blobs.put_tree(folder)]
    rows = GoldenRows(columns=dict(golden.columns), outputs=dict(golden.outputs))
    blob = blobs.put_bytes(json.dumps(rows.model_dump(mode="json")).encode())
    count = len(next(iter(golden.outputs.values())))
    manifest = ReleaseManifest(
        project="flights",
        model="late",
        version=version,
        artifact_digest=digest_files(files),
        files=files,
        contract=contract,
        golden=GoldenSet(digest=blob.digest, rows=count, absolute_tolerance=golden.tolerance),
        runtime=Runtime(
            kind="python",
            flavor=flavor,
            serialization=serialization,
            python_version=platform.python_version(),
            environment_digest=digest_json("tests"),
        ),
    )
    return TestRelease(manifest.digest(), manifest)


def pickled_folder(folder: Path, model: object) -> Path:
    """A model folder as mlflow.sklearn saves it with cloudpickle; classes of `odd_model` travel by value."""
    folder.mkdir(parents=True)
    cloudpickle.register_pickle_by_value(odd_model)
    try:
        (folder / "model.pkl").write_bytes(cloudpickle.dumps(model))
    finally:
        cloudpickle.unregister_pickle_by_value(odd_model)
    section = {"pickled_model": "model.pkl", "serialization_format": "cloudpickle", "sklearn_version": "1.9.1"}
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": {"sklearn": section}}))
    return folder


def odd_release(blobs: Blobs, folder: Path, *, version: int = 1, offset: float = 0.0) -> TestRelease:
    """A release of `OddModel`, which answers `value + offset`."""
    pickled_folder(folder, odd_model.OddModel(offset))
    golden = Golden({"value": [1.0, 2.0]}, {"prediction": [1.0 + offset, 2.0 + offset]})
    return store_release(blobs, folder, ODD_CONTRACT, golden, version=version, serialization="pickle")


class RunsWhenUnpickled:
    """Its pickle runs `source` when it is loaded."""

    def __init__(self, source: str) -> None:
        self._source = source

    def __reduce__(self) -> tuple[Any, Sequence[Any]]:
        return exec, (self._source,)


def broken_release(blobs: Blobs, folder: Path, source: str, *, version: int = 9) -> TestRelease:
    """A release whose model file runs `source` when it is loaded."""
    pickled_folder(folder, RunsWhenUnpickled(source))
    golden = Golden({"value": [1.0]}, {"prediction": [1.0]})
    return store_release(blobs, folder, ODD_CONTRACT, golden, version=version, serialization="pickle")
