"""A registry over a real database, real blobs, a real sandbox and either MLflow; with small models to put into it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session
from tests.support.example_contract import CONTRACT
from tests.support.jobs import CountingDoorbell, PlayHandler
from tests.support.people import make_actor, make_project

from carrara.access.domain import Actor, Project
from carrara.contracts.jobs import JobError, JobKind, JobView
from carrara.contracts.release import ArtifactFile, digest_files
from carrara.contracts.training import (
    REGISTER_TRAINED,
    BuiltinTrainer,
    PinnedData,
    StoredBlob,
    Target,
    TrainedModel,
    TrainingLineage,
)
from carrara.jobs.attempts import claim
from carrara.jobs.keeper import LeaseKeeper
from carrara.jobs.ports import ChildWork, ClaimedJob, Staging
from carrara.jobs.runner import ChildRules, Runner
from carrara.jobs.service import JobService
from carrara.jobs.staging import StagingArea
from carrara.kernel.clock import SystemClock
from carrara.kernel.digests import digest_bytes
from carrara.kernel.ids import JobId, uuid7
from carrara.persistence.database import EVERYTHING, Database, Scope
from carrara.persistence.outbox import Message
from carrara.registry.adoption import adopt_version
from carrara.registry.artifacts import ArtifactCopier
from carrara.registry.handler import ValidateHandler
from carrara.registry.ports import ModelTracking
from carrara.registry.trained import RegisterTrained
from carrara.sandbox.client import Forkserver
from carrara.storage.blobs import Blobs
from carrara.storage.directory import DirectoryStore

PRELOAD = ("carrara.registry.child",)


@dataclass
class EvaluateRecorder:
    """Takes evaluate jobs and keeps their specs; none is ever run here."""

    kind: JobKind = JobKind.EVALUATE
    specs: list[dict[str, Any]] = field(default_factory=list)

    def check(self, session: Session, project_id: UUID, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        self.specs.append(dict(spec))
        return dict(spec)

    def prepare(self, job: ClaimedJob, staging: Staging) -> ChildWork:
        raise NotImplementedError

    def publish(self, job: ClaimedJob, staging: Staging, result: Mapping[str, Any]) -> Mapping[str, Any]:
        raise NotImplementedError

    def record(self, session: Session, job: ClaimedJob, published: Mapping[str, Any]) -> Mapping[str, Any]:
        raise NotImplementedError

    def record_failure(self, session: Session, job: ClaimedJob, error: JobError) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class RegistryWorld:
    """One project with its author, and everything that validates."""

    database: Database
    project: Project
    author: Actor
    blobs: Blobs
    tracking: ModelTracking
    jobs: JobService
    validate: ValidateHandler
    register: RegisterTrained
    evaluations: EvaluateRecorder
    runner: Runner | None

    @property
    def scope(self) -> Scope:
        return Scope(self.project.id, self.author.id)

    def message(self, trained: TrainedModel) -> Message:
        """The outbox message that a training's commit would have left."""
        return Message(uuid7(), self.project.id, REGISTER_TRAINED, trained.model_dump(mode="json"), 1)

    def training_job(self) -> JobId:
        """A train job to be the origin of a version."""
        with self.database.transaction(self.scope) as session:
            return self.jobs.submit(session, self.project.id, self.author.id, JobKind.TRAIN, {"do": "answer"})

    def run_next_job(self) -> JobView:
        """Claims the next validate job and runs it to its end in a real confined child."""
        with self.database.transaction(EVERYTHING) as session:
            job = claim(session, {JobKind.VALIDATE: self.validate}, worker="test", lease_seconds=60)
        assert job is not None, "no validate job waits"
        keeper = LeaseKeeper(self.database, job, SystemClock(), lease_seconds=60, heartbeat_seconds=20)
        assert self.runner is not None, "this world has no forkserver"
        with keeper:
            self.runner.run(job, keeper)
        with self.database.transaction(self.scope) as session:
            return self.jobs.get(session, self.project.id, job.id)

    def sql(self, query: str, **values: Any) -> list[Any]:
        with self.database.transaction(self.scope) as session:
            return list(session.execute(text(query), values))

    def actions(self, kind: str = "version") -> list[str]:
        """The audit records on things of this kind, in order."""
        query = "SELECT action FROM audit_records WHERE subject_kind = :kind ORDER BY sequence"
        return [row.action for row in self.sql(query, kind=kind)]


@contextmanager
def registry_world(
    database: Database,
    folder: Path,
    tracking: ModelTracking,
    forkserver: Forkserver | None,
    *,
    allows_pickle: bool = False,
) -> Iterator[RegistryWorld]:
    """The world, in folders below `folder`. Without a forkserver no job can run in it."""
    blobs = Blobs(DirectoryStore(folder / "objects"))
    author = make_actor(database, "ada")
    project = make_project(database, author, "quarry", allows_pickle=allows_pickle)
    evaluations = EvaluateRecorder()
    handlers: dict[JobKind, Any] = {JobKind.TRAIN: PlayHandler(), JobKind.EVALUATE: evaluations}
    jobs = JobService(handlers, CountingDoorbell())
    copier = ArtifactCopier(database, blobs, tracking, max_bytes=200 << 20)
    handlers[JobKind.VALIDATE] = validate = ValidateHandler(database, blobs, copier, jobs.submit)
    rules = ChildRules(None, timeout_seconds=120, memory_bytes=1 << 30, processes=64, platform_address=None)
    runner = Runner(database, handlers, forkserver, StagingArea(folder / "staging"), rules=rules, clock=SystemClock())
    yield RegistryWorld(
        database=database,
        project=project,
        author=author,
        blobs=blobs,
        tracking=tracking,
        jobs=jobs,
        validate=validate,
        register=RegisterTrained(database, tracking, blobs, jobs.submit, SystemClock()),
        evaluations=evaluations,
        runner=runner,
    )


def trained_model(world: RegistryWorld, folder: Path, **changes: Any) -> TrainedModel:
    """The payload of a training job that made the model in `folder`; its blobs are stored."""
    tree = world.blobs.put_tree(folder)
    files = [ArtifactFile(path=file.path, digest=file.digest, size=file.size) for file in tree]
    golden = world.blobs.put_file(folder.parent / "candidates.parquet")
    at = datetime(2026, 3, 1, tzinfo=UTC).isoformat()
    history = world.blobs.put_bytes(
        b"".join(b'{"name":"loss","value":%f,"step":%d,"at":"%s"}\n' % (1 / (n + 1), n, at.encode()) for n in range(5))
    )
    made: dict[str, Any] = {
        "job_id": world.training_job(),
        "attempt": 1,
        "model": "delays",
        "author_id": world.author.id,
        "task": "classification",
        "flavor": "sklearn",
        "serialization": "skops",
        "artifact_digest": digest_files(files),
        "files": files,
        "contract": CONTRACT,
        "lineage": lineage(),
        "params": {"C": "1.0"},
        "metrics": {"train_accuracy": 0.97, "loss": 0.2},
        "metric_history": StoredBlob(digest=history.digest, size=history.size),
        "golden_candidates": StoredBlob(digest=golden.digest, size=golden.size),
        "evaluate": True,
    }
    return TrainedModel.model_validate({**made, **changes})


def lineage() -> TrainingLineage:
    """Where the small model comes from."""
    return TrainingLineage(
        dataset="flights",
        data=PinnedData(
            snapshot_id=uuid7(),
            snapshot_number=3,
            snapshot_digest=digest_bytes(b"snapshot"),
            split_id=uuid7(),
            split_digest=digest_bytes(b"split"),
        ),
        target=Target(column="late"),
        task="classification",
        features=["distance", "carrier"],
        trainer=BuiltinTrainer(builtin="logistic"),
        params={},
        seed=0,
        git_commit="a" * 40,
        git_is_dirty=False,
        train_rows=200,
        dropped_null_targets=0,
        packages={"scikit-learn": "1.9.1"},
    )


def adopt_folder(world: RegistryWorld, folder: Path, model: str = "mine") -> int:
    """Puts a model folder into MLflow as the stock client would, and adopts it; gives the version's number."""
    project = world.tracking.of(world.project.id)
    run = project.create_run(project.experiment(model), "by hand", tags={}, started_at=datetime.now(UTC))
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            project.upload(run.location, f"model/{path.relative_to(folder).as_posix()}", path)
    project.register_model(model)
    tracked = project.create_version(model, f"{run.location}/model", run_id=run.id, tags={})
    with world.database.transaction(world.scope) as session:
        adopt_version(session, world.project.id, tracked, world.author.id, submit=world.jobs.submit)
    return tracked.number
