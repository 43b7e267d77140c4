"""The train job: pin what the spec names, bring it to a confined child, store what comes out, ask for a version."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from carrara.access import store as access
from carrara.access.tables import ProjectRow
from carrara.contracts.documents import parse_document, read_own
from carrara.contracts.gates import GatePolicy
from carrara.contracts.jobs import JobError, JobKind
from carrara.contracts.release import ArtifactFile, digest_files
from carrara.contracts.training import (
    REGISTER_TRAINED,
    EntryTrainer,
    PinnedData,
    PinnedTraining,
    StoredBlob,
    TrainedModel,
    TrainingLineage,
    TrainingResult,
    TrainingSpec,
)
from carrara.datasets import service as datasets
from carrara.datasets.domain import PreparedSplit, Snapshot, Split
from carrara.datasets.preparation import fetch_snapshot, prepare_split
from carrara.datasets.splits import check_spec
from carrara.jobs.bundles import get_bundle, materialise_bundle
from carrara.jobs.limits import MostAllowed
from carrara.jobs.ports import ChildWork, ClaimedJob, Staging
from carrara.kernel.crashpoint import crashpoint
from carrara.kernel.errors import Invalid
from carrara.kernel.ids import ProjectId, SnapshotId, UserId
from carrara.persistence.database import Database, Scope, acting_user
from carrara.persistence.outbox import enqueue
from carrara.storage.blobs import Blobs
from carrara.storage.disk import disk_error
from carrara.training.outcome import GOLDEN_FILE, MODEL_FOLDER, TrainOutcome, TrainTask
from carrara.training.parts import WrittenParts, write_parts
from carrara.training.spec import chosen_features, spec_issues

MAX_MODEL_BYTES = 4 << 30
_PINNED_KEYS = frozenset(PinnedTraining.model_fields) - frozenset(TrainingSpec.model_fields)


@dataclass
class TrainHandler:
    """Implements `JobHandler` for `train`."""

    database: Database
    blobs: Blobs
    most: MostAllowed = field(default_factory=MostAllowed)
    kind: JobKind = JobKind.TRAIN

    def check(self, session: Session, project_id: ProjectId, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """The spec with its snapshot, split and features pinned: what is queued is what runs, whatever is pushed later.

        A new split that was not prepared is made here, which reads the snapshot. A spec that was pinned before, by a
        job that is tried again, keeps its snapshot.
        """
        wanted, snapshot = _wanted(session, project_id, spec)
        self.most.refuse_more(memory_bytes=wanted.memory_bytes, timeout_seconds=wanted.timeout_seconds)
        bundle = None
        if isinstance(wanted.trainer, EntryTrainer):
            bundle = get_bundle(session, project_id, wanted.trainer.bundle)
        split = self._split(session, project_id, snapshot, wanted)
        pinned = PinnedTraining(
            **wanted.model_dump(exclude={"snapshot", "features", "exclude"}),
            snapshot=snapshot.digest,
            features=chosen_features(wanted, snapshot.columns),
            pinned=_pinned_data(snapshot, split),
            allows_pickle=_allows_pickle(session, project_id),
            git_commit=bundle.git_commit if bundle else None,
            git_is_dirty=bundle.git_is_dirty if bundle else None,
        )
        return pinned.model_dump(mode="json")

    def preparation(
        self, project_id: ProjectId, user_id: UserId, spec: Mapping[str, Any]
    ) -> Callable[[], object] | None:
        """Makes the split that `check` will look for: it reads the snapshot, which may take seconds."""
        with self.database.transaction(Scope(project_id, user_id)) as session:
            wanted, snapshot = _wanted(session, project_id, spec)
            if datasets.find_split(session, project_id, snapshot, wanted.split) is not None:
                return None
        return partial(self._prepare_split, project_id, user_id, snapshot, wanted)

    def prepare(self, job: ClaimedJob, staging: Staging) -> ChildWork:
        """Writes what the child may see of the rows, and the user's code if there is any, below `staging.inputs`."""
        spec = read_own(PinnedTraining, job.spec)
        with self.database.transaction(Scope(job.project_id, job.submitted_by)) as session:
            snapshot = datasets.snapshot_by_id(session, job.project_id, SnapshotId(spec.pinned.snapshot_id))
            bundle = None
            if isinstance(spec.trainer, EntryTrainer):
                bundle = get_bundle(session, job.project_id, spec.trainer.bundle)
        parts = self._parts(snapshot, spec, staging)
        code = staging.inputs / "code"
        if bundle is not None:
            materialise_bundle(self.blobs, bundle, code)
        task = TrainTask(
            spec=spec,
            columns=list(snapshot.columns),
            train_file=str(parts.train),
            unlabelled_file=str(parts.unlabelled),
            holdout_dropped=parts.holdout_dropped,
            outputs=str(staging.outputs),
            code=str(code) if bundle is not None else None,
        )
        return ChildWork(
            entry="carrara.training.child:run",
            argument=task.model_dump(mode="json"),
            import_paths=(code,) if bundle is not None else (),
            timeout_seconds=spec.timeout_seconds,
            memory_bytes=spec.memory_bytes,
        )

    def publish(self, job: ClaimedJob, staging: Staging, result: Mapping[str, Any]) -> Mapping[str, Any]:
        """Stores the model folder, the golden candidates and the metric history; gives the payload of `record`."""
        spec = read_own(PinnedTraining, job.spec)
        outcome = read_own(TrainOutcome, result)
        tree = self.blobs.put_tree(staging.outputs / MODEL_FOLDER, max_bytes=MAX_MODEL_BYTES)
        files = [ArtifactFile(path=file.path, digest=file.digest, size=file.size) for file in tree]
        crashpoint("train.after_model_stored")
        trained = TrainedModel(
            job_id=job.id,
            attempt=job.attempt,
            model=spec.model,
            author_id=job.submitted_by,
            task=spec.task,
            flavor=outcome.flavor,
            serialization=outcome.serialization,
            artifact_digest=digest_files(files),
            files=files,
            contract=outcome.contract,
            lineage=_lineage(spec, outcome),
            params=outcome.params,
            metrics=outcome.metrics,
            metric_history=self._store(staging.events) if staging.events.stat().st_size else None,
            golden_candidates=self._store(staging.outputs / GOLDEN_FILE),
            evaluate=spec.evaluate,
            endpoint=spec.endpoint,
            policy=spec.policy,
        )
        return {"trained": trained.model_dump(mode="json"), "fit_seconds": outcome.fit_seconds}

    def record(self, session: Session, job: ClaimedJob, published: Mapping[str, Any]) -> Mapping[str, Any]:
        """Asks for the version, in the fenced transaction: an attempt that lost its lease registers nothing."""
        trained = TrainedModel.model_validate(published["trained"])
        enqueue(session, job.project_id, REGISTER_TRAINED, trained.model_dump(mode="json"))
        return TrainingResult(
            model=trained.model,
            artifact_digest=trained.artifact_digest,
            artifact_bytes=sum(file.size for file in trained.files),
            metrics=trained.metrics,
            params=trained.params,
            train_rows=trained.lineage.train_rows,
            dropped_null_targets=trained.lineage.dropped_null_targets,
            fit_seconds=round(float(published["fit_seconds"]), 3),
            notes=trained.lineage.notes,
        ).model_dump(mode="json")

    def record_failure(self, session: Session, job: ClaimedJob, error: JobError) -> None:
        """Nothing to undo: a training that failed has made no version."""

    def _split(self, session: Session, project_id: ProjectId, snapshot: Snapshot, spec: TrainingSpec) -> Split:
        known = datasets.find_split(session, project_id, snapshot, spec.split)
        return known or _made(session, project_id, snapshot, self._read_split(snapshot, spec))

    def _prepare_split(self, project_id: ProjectId, user_id: UserId, snapshot: Snapshot, spec: TrainingSpec) -> None:
        prepared = self._read_split(snapshot, spec)
        with self.database.transaction(Scope(project_id, user_id)) as session:
            _made(session, project_id, snapshot, prepared)

    def _read_split(self, snapshot: Snapshot, spec: TrainingSpec) -> PreparedSplit:
        with tempfile.TemporaryDirectory(prefix="carrara-split-") as folder:
            return prepare_split(snapshot, spec.split, blobs=self.blobs, scratch=Path(folder))

    def _parts(self, snapshot: Snapshot, spec: PinnedTraining, staging: Staging) -> WrittenParts:
        """Divides the rows where no child can look; the whole snapshot is gone before there is one."""
        try:
            with tempfile.TemporaryDirectory(prefix="snapshot-", dir=staging.inputs.parent) as folder:
                files = fetch_snapshot(self.blobs, snapshot, Path(folder) / "data")
                return write_parts(files, spec, staging.inputs / "data")
        except OSError as error:
            raise disk_error(error, "dividing the snapshot", needed_bytes=snapshot.byte_count) from error

    def _store(self, path: Path) -> StoredBlob:
        blob = self.blobs.put_file(path)
        return StoredBlob(digest=blob.digest, size=blob.size)


def _wanted(session: Session, project_id: ProjectId, spec: Mapping[str, Any]) -> tuple[TrainingSpec, Snapshot]:
    """The spec and the snapshot that it names, if the two go together; else every fault."""
    document = {key: value for key, value in spec.items() if key not in _PINNED_KEYS}
    wanted = parse_document(TrainingSpec, document, "spec")
    if wanted.policy is not None:
        parse_document(GatePolicy, wanted.policy, "spec.policy")
    snapshot = datasets.get_snapshot(session, project_id, wanted.dataset, wanted.snapshot)
    profile = datasets.get_profile(session, project_id, snapshot.id)
    issues = [*spec_issues(wanted, snapshot.columns, profile), *_split_issues(wanted, snapshot)]
    if issues:
        more = f" (and {len(issues) - 1} more)" if len(issues) > 1 else ""
        raise Invalid(f"{issues[0].where}: {issues[0].message}{more}", code="bad_spec", issues=issues)
    return wanted, snapshot


def _made(session: Session, project_id: ProjectId, snapshot: Snapshot, prepared: PreparedSplit) -> Split:
    user_id = UserId(acting_user(session))
    by = (user_id, access.user_names(session, [user_id]).get(user_id, str(user_id)))
    return datasets.create_split(session, project_id, snapshot, prepared, by=by)[0]


def _split_issues(spec: TrainingSpec, snapshot: Snapshot) -> tuple[Any, ...]:
    try:
        check_spec(spec.split, snapshot.types, "spec.split")
    except Invalid as error:
        return error.issues
    return ()


def _pinned_data(snapshot: Snapshot, split: Split) -> PinnedData:
    return PinnedData(
        snapshot_id=snapshot.id,
        snapshot_number=snapshot.number,
        snapshot_digest=snapshot.digest,
        split_id=split.id,
        split_digest=split.digest,
    )


def _allows_pickle(session: Session, project_id: ProjectId) -> bool:
    return access.to_project(session.get_one(ProjectRow, project_id)).allows_pickle


def _lineage(spec: PinnedTraining, outcome: TrainOutcome) -> TrainingLineage:
    return TrainingLineage(
        dataset=spec.dataset,
        data=spec.pinned,
        target=spec.target,
        task=spec.task,
        features=spec.features or [],
        trainer=spec.trainer,
        params=spec.params,
        seed=spec.seed,
        git_commit=spec.git_commit,
        git_is_dirty=spec.git_is_dirty,
        train_rows=outcome.train_rows,
        dropped_null_targets=outcome.dropped_null_targets,
        packages=outcome.packages,
        notes=outcome.notes,
    )
