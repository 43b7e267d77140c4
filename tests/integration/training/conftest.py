"""Real flights and real confined children for the tests of training and evaluation."""

import fcntl
import json
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import threadpoolctl
from tests.support.told import Told
from tests.support.training import PRELOAD, SPEC, TrainingWorld, january_flights, training_world

from carrara.contracts.datasets import ColumnSchema
from carrara.contracts.training import PinnedTraining
from carrara.datasets.columns import columns_of
from carrara.persistence.database import Database
from carrara.sandbox.client import Forkserver
from carrara.training.parts import write_parts

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's own, while it is imported
    import mlflow.pyfunc  # noqa: F401

    from carrara.training import child

DIGEST = "sha256:" + "0" * 64


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Waiting OpenMP threads spin, and fits of several test workers would starve each other."""
    with threadpoolctl.threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def forkserver() -> Iterator[Forkserver]:
    """What makes the confined children; it has imported what they need."""
    with Forkserver.start(PRELOAD, runtime_dir=Path(tempfile.mkdtemp(prefix="carrara-test-"))) as started:
        yield started


@pytest.fixture(scope="session")
def flights(shared_folder: Path) -> Path:
    """Flights of January 2013, made once for the whole run."""
    path = shared_folder / "january.parquet"
    with (shared_folder / "january.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            january_flights(path.with_suffix(".draft")).rename(path)
    return path


@pytest.fixture
def world(database: Database, reachable_folder: Path, forkserver: Forkserver, flights: Path) -> Iterator[TrainingWorld]:
    """A project with the flights pushed."""
    with training_world(database, reachable_folder, forkserver) as made:
        made.push(flights)
        yield made


@pytest.fixture(scope="module")
def snapshot(flights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ColumnSchema]]:
    """Every third of the flights, as a stored snapshot has them."""
    table = pq.read_table(flights)
    table = table.take(np.arange(0, len(table), 3))
    table = table.cast(pa.schema([_stored(field) for field in table.schema]))
    path = tmp_path_factory.mktemp("snapshot") / "part.parquet"
    pq.write_table(table, path)
    schema = [
        ColumnSchema(name=c.name, type=c.type, nullable=table[c.name].null_count > 0, digest=DIGEST)
        for c in columns_of(table.schema)
    ]
    return path, schema


def _stored(field: pa.Field) -> pa.Field:
    return field.with_type(pa.string()) if pa.types.is_large_string(field.type) else field


@pytest.fixture
def run(snapshot: tuple[Path, list[ColumnSchema]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a training with changes to the spec, and user code if there is any."""
    path, schema = snapshot

    def go(source: str | None = None, *, allows_pickle: bool = False, **changes: Any) -> Told:
        spec = {**SPEC, **changes}
        left_out = {spec["target"]["column"], *spec.pop("exclude")}
        spec["features"] = changes.get("features") or [c.name for c in schema if c.name not in left_out]
        code = None
        if source is not None:
            code = tmp_path / "code"
            code.mkdir(exist_ok=True)
            module = f"user_{uuid.uuid4().hex}"
            (code / f"{module}.py").write_text(source)
            monkeypatch.syspath_prepend(code)
            spec["trainer"] = {"entry": f"{module}:train", "bundle": DIGEST}
        ids = dict.fromkeys(("snapshot_id", "split_id"), str(uuid.uuid4()))
        digests = dict.fromkeys(("snapshot_digest", "split_digest"), DIGEST)
        spec |= {"pinned": {**ids, **digests, "snapshot_number": 1}, "allows_pickle": allows_pickle}
        parts = write_parts([path], PinnedTraining.model_validate(spec), tmp_path / "data")
        argument = {
            "spec": spec,
            "columns": [column.model_dump(mode="json") for column in schema],
            "train_file": str(parts.train),
            "unlabelled_file": str(parts.unlabelled),
            "holdout_dropped": parts.holdout_dropped,
            "outputs": str(tmp_path),
            "code": str(code) if code else None,
        }
        told = Told(json.loads(json.dumps(argument)))
        child.run(told)  # type: ignore[arg-type]  # the part of a channel that the child uses
        return told

    return go
