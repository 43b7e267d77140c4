"""Real flights and real confined children for the tests of training and evaluation."""

import fcntl
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import threadpoolctl
from tests.support.training import PRELOAD, TrainingWorld, january_flights, training_world

from carrara.persistence.database import Database
from carrara.sandbox.client import Forkserver

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's own, while it is imported
    import mlflow.pyfunc  # noqa: F401


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
