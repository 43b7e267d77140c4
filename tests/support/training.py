"""A project that trains, validates and evaluates on real flights, in real confined children; MLflow is in memory."""

import importlib.util
import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session
from tests.fakes.model_tracking import FakeTracking
from tests.support.flights import flights_folder
from tests.support.jobs import CountingDoorbell
from tests.support.people import make_actor, make_project

from carrara.access.domain import Actor, Project
from carrara.contracts.jobs import JobKind, JobView
from carrara.contracts.training import REGISTER_TRAINED
from carrara.datasets import service as datasets
from carrara.datasets.preparation import prepare_snapshot
from carrara.evaluation.handler import EvaluateHandler
from carrara.evaluation.ports import Standing
from carrara.jobs.attempts import claim
from carrara.jobs.bundles import record_bundle, store_archive
from carrara.jobs.keeper import LeaseKeeper
from carrara.jobs.limits import MostAllowed
from carrara.jobs.ports import JobHandler
from carrara.jobs.runner import ChildRules, Runner
from carrara.jobs.service import JobService
from carrara.jobs.staging import StagingArea
from carrara.kernel.clock import SystemClock
from carrara.kernel.errors import NotFound
from carrara.kernel.ids import ProjectId, ReleaseId
from carrara.persistence.database import EVERYTHING, Database, Scope
from carrara.persistence.outbox import deliver_next
from carrara.registry.artifacts import ArtifactCopier
from carrara.registry.handler import ValidateHandler
from carrara.registry.trained import RegisterTrained
from carrara.sandbox.client import Forkserver
from carrara.storage.blobs import Blobs
from carrara.storage.directory import DirectoryStore
from carrara.training.handler import TrainHandler

PRELOAD = ("carrara.training.child", "carrara.registry.child", "carrara.evaluation.child")
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "flights"

SPEC: Mapping[str, Any] = {
    "model": "delays",
    "dataset": "flights",
    "split": {
        "kind": "time",
        "column": "time_hour",
        "holdout_from": "2013-01-22T05:00:00Z",
        "holdout_until": "2013-02-01T05:00:00Z",
    },
    "target": {"column": "arr_delay", "greater_than": 15},
    "task": "classification",
    "exclude": ["time_hour", "month", "day", "flight"],
    "trainer": {"builtin": "logistic"},
}


class KnownStandings:
    """Endpoints by name, as a test sets them."""

    def __init__(self) -> None:
        self.by_name: dict[str, Standing] = {}

    def standing(self, session: Session, project_id: ProjectId, endpoint: str) -> Standing:
        if endpoint not in self.by_name:
            raise NotFound("endpoint", name=endpoint)
        return self.by_name[endpoint]


@dataclass(frozen=True)
class TrainingWorld:
    """One project with its author; jobs run when a test says so."""

    database: Database
    project: Project
    author: Actor
    blobs: Blobs
    jobs: JobService
    runner: Runner
    tracking: FakeTracking
    endpoints: KnownStandings
    folder: Path
    handlers: dict[JobKind, JobHandler] = field(default_factory=dict)

    @property
    def scope(self) -> Scope:
        return Scope(self.project.id, self.author.id)

    def push(self, path: Path, dataset: str = "flights") -> None:
        """Pushes a file as the next snapshot."""
        prepared = prepare_snapshot(path, blobs=self.blobs, scratch=self.folder)
        with self.database.transaction(self.scope) as session:
            datasets.push_snapshot(session, self.project.id, dataset, prepared, by=(self.author.id, self.author.name))

    def push_code(self, **files: str) -> str:
        """Pushes modules by name and source; the bundle's digest."""
        archive = self.folder / "bundle.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            for name, source in files.items():
                entry = tarfile.TarInfo(f"{name}.py")
                entry.size = len(source.encode())
                tar.addfile(entry, io.BytesIO(source.encode()))
        bundle = store_archive(self.blobs, archive, self.folder)
        with self.database.transaction(self.scope) as session:
            record_bundle(session, self.project.id, self.author, bundle)
        return bundle.digest

    def submit(self, spec: Mapping[str, Any], kind: JobKind = JobKind.TRAIN) -> JobView:
        """Queues a job."""
        with self.database.transaction(self.scope) as session:
            job_id = self.jobs.submit(session, self.project.id, self.author.id, kind, spec)
            return self.jobs.get(session, self.project.id, job_id)

    def run_next(self, kind: JobKind) -> JobView:
        """Claims the next job of a kind and runs it to its end."""
        with self.database.transaction(EVERYTHING) as session:
            job = claim(session, {kind: self.handlers[kind]}, worker="test", lease_seconds=60)
        assert job is not None, f"no {kind} job waits"
        with LeaseKeeper(self.database, job, SystemClock(), lease_seconds=60, heartbeat_seconds=20) as keeper:
            self.runner.run(job, keeper)
        return self.job(job.id)

    def train(self, **changes: Any) -> JobView:
        """Submits and runs a training."""
        self.submit({**SPEC, **changes})
        return self.run_next(JobKind.TRAIN)

    def register(self) -> None:
        """Delivers what the commits left: the version is registered, its validation queued."""
        handler = RegisterTrained(self.database, self.tracking, self.blobs, self.jobs.submit, SystemClock())
        while deliver_next(self.database, {REGISTER_TRAINED: handler}):
            pass

    def version_from(self, **changes: Any) -> tuple[JobView, JobView]:
        """Trains, registers, validates and evaluates; the jobs of training and evaluation."""
        trained = self.train(**changes)
        assert trained.error is None, trained.error
        self.register()
        validated = self.run_next(JobKind.VALIDATE)
        assert validated.error is None, validated.error
        assert validated.result is not None
        assert validated.result["evaluation_job_id"], validated.result["notes"]
        return trained, self.run_next(JobKind.EVALUATE)

    def job(self, job_id: Any) -> JobView:
        with self.database.transaction(self.scope) as session:
            return self.jobs.get(session, self.project.id, job_id)

    def release_of(self, model: str, number: int) -> ReleaseId:
        query = (
            "SELECT r.id FROM releases r JOIN versions v ON v.id = r.version_id JOIN models m ON m.id = v.model_id"
            " WHERE m.name = :model AND v.number = :number"
        )
        [(found,)] = self.sql(query, model=model, number=number)
        return ReleaseId(found)

    def sql(self, query: str, **values: Any) -> list[Any]:
        with self.database.transaction(self.scope) as session:
            return list(session.execute(text(query), values))


@contextmanager
def training_world(
    database: Database, folder: Path, forkserver: Forkserver, *, allows_pickle: bool = False
) -> Iterator[TrainingWorld]:
    """The world, in folders below `folder`."""
    blobs = Blobs(DirectoryStore(folder / "objects"))
    author = make_actor(database, "ada")
    project = make_project(database, author, "quarry", allows_pickle=allows_pickle)
    tracking, endpoints, clock = FakeTracking(), KnownStandings(), SystemClock()
    handlers: dict[JobKind, JobHandler] = {}
    jobs = JobService(handlers, CountingDoorbell())
    copier = ArtifactCopier(database, blobs, tracking, max_bytes=200 << 20)
    handlers[JobKind.TRAIN] = TrainHandler(database, blobs, MostAllowed(2 << 30, 3600))
    handlers[JobKind.VALIDATE] = ValidateHandler(database, blobs, copier, jobs.submit)
    handlers[JobKind.EVALUATE] = EvaluateHandler(database, blobs, endpoints, clock)
    rules = ChildRules(None, timeout_seconds=240, memory_bytes=2 << 30, processes=64, platform_address=None)
    runner = Runner(database, handlers, forkserver, StagingArea(folder / "staging"), rules=rules, clock=clock)
    yield TrainingWorld(database, project, author, blobs, jobs, runner, tracking, endpoints, folder, handlers)


def january_flights(path: Path) -> Path:
    """The example's table for January (27,004 flights), every third row, as Parquet."""
    prepare = example("prepare")
    table = prepare.flights(flights_folder())
    table[table["month"] == 1].iloc[::3].to_parquet(path, index=False)
    return path


def example(name: str) -> ModuleType:
    """A module of `examples/flights`, which is no package."""
    spec = importlib.util.spec_from_file_location(f"flights_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
