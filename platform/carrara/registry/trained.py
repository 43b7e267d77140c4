"""From a training job that succeeded to a registered version: the outbox step behind the fenced commit (D2).

MLflow cannot take part in our transactions, so every step looks for its own trace before it acts: a run and a version
carry the tag `carrara.job`. Killed anywhere, the next delivery goes on from there.
"""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from carrara.contracts.jobs import JobKind
from carrara.contracts.registry import ValidateSpec
from carrara.contracts.training import TrainedModel
from carrara.jobs.ports import Submit
from carrara.kernel.clock import Clock
from carrara.kernel.crashpoint import crashpoint
from carrara.kernel.errors import Conflict, Invalid
from carrara.kernel.ids import JobId, ProjectId, UserId
from carrara.persistence.database import Database, Scope
from carrara.persistence.outbox import Message
from carrara.registry import service, store
from carrara.registry.domain import AUTHOR_TAG, JOB_TAG, NewVersion, VersionSource
from carrara.registry.ports import MetricPoint, ModelTracking, ProjectTracking, TrackedRun, TrackedVersion
from carrara.storage.blobs import Blobs

MODEL_FOLDER = "model"
MAX_HISTORY_BYTES = 64 << 20


@dataclass(frozen=True)
class RegisterTrained:
    """Handler of the outbox message `registry.register_trained`."""

    database: Database
    tracking: ModelTracking
    blobs: Blobs
    submit: Submit
    clock: Clock

    def __call__(self, message: Message) -> None:
        project_id = ProjectId(message.project_id)
        trained = _payload(message)
        scope = Scope(project_id, trained.author_id)
        with self.database.transaction(scope) as session:
            if store.version_of_job(session, project_id, JobId(trained.job_id)) is not None:
                return
        project = self.tracking.of(project_id)
        run = self._tracked_run(project, scope, trained)
        self._upload(project, run, trained)
        crashpoint("register_trained.after_upload")
        project.register_model(trained.model)
        with self.database.transaction(scope) as session:
            store.hold(session, f"job:{trained.job_id}")
            self._register(session, project_id, _tracked_version(project, run, trained), trained)
        crashpoint("register_trained.after_commit")

    def _tracked_run(self, project: ProjectTracking, scope: Scope, trained: TrainedModel) -> TrackedRun:
        experiment = project.experiment(trained.model)
        tag = (JOB_TAG, str(trained.job_id))
        with self.database.transaction(scope) as session:
            store.hold(session, f"job:{trained.job_id}")  # of two deliveries at once, one makes the run
            run = project.find_run(experiment, tag) or project.create_run(
                experiment,
                f"{trained.model} {str(trained.job_id)[-8:]}",
                tags=_run_tags(trained),
                started_at=self.clock.now(),
            )
        crashpoint("register_trained.after_run")
        points = list(self._history(trained))
        project.log(run.id, params=trained.params, metrics=points)
        crashpoint("register_trained.after_log")
        project.finish_run(run.id, ended_at=max((point.at for point in points), default=self.clock.now()))
        return run

    def _history(self, trained: TrainedModel) -> Iterator[MetricPoint]:
        """Every point of the history, then each final metric that the history does not have."""
        seen = set()
        if trained.metric_history is not None:
            for line in self.blobs.get_bytes(trained.metric_history.digest, MAX_HISTORY_BYTES).splitlines():
                point = _point(json.loads(line))
                seen.add(point.name)
                yield point
        made_at = datetime.fromtimestamp((trained.job_id.int >> 80) / 1000, UTC)  # UUIDv7: the same at each delivery
        for name, value in trained.metrics.items():
            if name not in seen:
                yield MetricPoint(name, value, 0, made_at)

    def _upload(self, project: ProjectTracking, run: TrackedRun, trained: TrainedModel) -> None:
        present = {file.path: file.size for file in project.list_files(f"{run.location}/{MODEL_FOLDER}")}
        with tempfile.TemporaryDirectory(prefix="carrara-register-") as folder:
            for file in trained.files:
                if present.get(file.path) == file.size:
                    continue
                path = Path(folder) / "file"
                self.blobs.download(file.digest, path)
                project.upload(run.location, f"{MODEL_FOLDER}/{file.path}", path)
                path.unlink()

    def _register(
        self, session: Session, project_id: ProjectId, tracked: TrackedVersion, trained: TrainedModel
    ) -> None:
        crashpoint("register_trained.after_version")
        version_id = service.register(session, project_id, _new_version(tracked, trained))
        if version_id is None:
            if store.version_of_job(session, project_id, JobId(trained.job_id)) is not None:
                return
            raise Conflict(
                f"{trained.model} version {tracked.number} is in the registry, but not of job {trained.job_id}:"
                " MLflow counts versions differently than we do. Was its database restored from a backup?"
            )
        spec = ValidateSpec(
            version_id=version_id, evaluate=trained.evaluate, endpoint=trained.endpoint, policy=trained.policy
        )
        self.submit(session, project_id, UserId(trained.author_id), JobKind.VALIDATE, spec.model_dump(mode="json"))


def _payload(message: Message) -> TrainedModel:
    try:
        return TrainedModel.model_validate(dict(message.payload))
    except ValidationError as error:
        raise Invalid(f"this is no trained model of schema version 1: {error}") from error


def _tracked_version(project: ProjectTracking, run: TrackedRun, trained: TrainedModel) -> TrackedVersion:
    tag = (JOB_TAG, str(trained.job_id))
    return project.find_version(trained.model, tag) or project.create_version(
        trained.model,
        f"{run.location}/{MODEL_FOLDER}",
        run_id=run.id,
        tags={JOB_TAG: str(trained.job_id), AUTHOR_TAG: str(trained.author_id)},
    )


def _run_tags(trained: TrainedModel) -> dict[str, str]:
    lineage = trained.lineage
    tags = {
        JOB_TAG: str(trained.job_id),
        AUTHOR_TAG: str(trained.author_id),
        "carrara.attempt": str(trained.attempt),
        "carrara.dataset": f"{lineage.dataset}@{lineage.data.snapshot_number}",
        "carrara.dataset_digest": lineage.data.snapshot_digest,
        "carrara.split_digest": lineage.data.split_digest,
        "carrara.artifact_digest": trained.artifact_digest,
    }
    if lineage.git_commit:
        tags |= {"mlflow.source.git.commit": lineage.git_commit, "carrara.git_dirty": str(lineage.git_is_dirty).lower()}
    return tags


def _new_version(tracked: TrackedVersion, trained: TrainedModel) -> NewVersion:
    return NewVersion(
        model=trained.model,
        number=tracked.number,
        source=VersionSource.JOB,
        author_id=UserId(trained.author_id),
        job_id=JobId(trained.job_id),
        mlflow_run_id=tracked.run_id,
        mlflow_source=tracked.source,
        task=trained.task,
        artifact_digest=trained.artifact_digest,
        files=tuple(trained.files),
        flavor=trained.flavor,
        serialization=trained.serialization,
        contract=trained.contract,
        golden_candidates=trained.golden_candidates.digest,
        metrics=trained.metrics,
        lineage=trained.lineage.model_dump(mode="json"),
    )


def _point(line: dict[str, Any]) -> MetricPoint:
    at = line["at"]
    moment = datetime.fromisoformat(at) if isinstance(at, str) else datetime.fromtimestamp(float(at), UTC)
    return MetricPoint(str(line["name"]), float(line["value"]), int(line["step"]), moment)
