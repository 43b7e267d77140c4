"""The evaluate job: pin what is compared on which rows, have a child score it, keep the report as evidence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from carrara.audit.service import record as audit
from carrara.contracts.documents import parse_document, read_own
from carrara.contracts.evaluation import EvaluateSpec, EvaluationResult, PinnedEvaluation
from carrara.contracts.gates import GatePolicy
from carrara.contracts.jobs import JobError, JobKind
from carrara.contracts.registry import VersionState
from carrara.contracts.training import StoredBlob
from carrara.datasets import service as datasets
from carrara.evaluation import store
from carrara.evaluation.inputs import InputFolder
from carrara.evaluation.outcome import PREDICTIONS_FILE, EvaluateOutcome, EvaluateTask
from carrara.evaluation.ports import Endpoints
from carrara.evaluation.reporting import write_report
from carrara.evaluation.service import judge_version
from carrara.evaluation.subject import find_subject, lineage_of, subject_issues, task_of, trained_on
from carrara.jobs.ports import ChildWork, ClaimedJob, Staging
from carrara.kernel.clock import Clock
from carrara.kernel.crashpoint import crashpoint
from carrara.kernel.errors import Conflict, Invalid, Issue
from carrara.kernel.ids import ProjectId, ReleaseId, SplitId
from carrara.persistence.database import Database, Scope
from carrara.registry import service as registry_service
from carrara.registry import store as registry
from carrara.storage.blobs import Blobs

_PINNED_KEYS = frozenset(PinnedEvaluation.model_fields) - frozenset(EvaluateSpec.model_fields)
_EVALUABLE = (VersionState.VALIDATED, VersionState.EVALUATED)


@dataclass
class EvaluateHandler:
    """Implements `JobHandler` for `evaluate`."""

    database: Database
    blobs: Blobs
    endpoints: Endpoints
    clock: Clock
    kind: JobKind = JobKind.EVALUATE

    def check(self, session: Session, project_id: ProjectId, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """The spec with its version, split, target and live release pinned."""
        document = {key: value for key, value in spec.items() if key not in _PINNED_KEYS}
        wanted = parse_document(EvaluateSpec, document, "spec")
        if wanted.policy is not None:
            parse_document(GatePolicy, wanted.policy, "spec.policy")
        version = registry.find_version(session, project_id, wanted.model, wanted.version)
        if version.state not in _EVALUABLE:
            raise Conflict(
                f"{version.name} is {version.state}; only a validated version can be evaluated", code="not_validated"
            )
        lineage = lineage_of(version)
        split_id = wanted.split_id or (lineage.data.split_id if lineage else None)
        target = wanted.target or (lineage.target if lineage else None)
        if split_id is None or target is None:
            raise _cannot(
                f"{version.name} was trained elsewhere, so its holdout and target are not known: give split_id and"
                " target",
                "spec.split_id" if split_id is None else "spec.target",
            )
        split = datasets.get_split(session, project_id, SplitId(split_id))
        snapshot = datasets.snapshot_by_id(session, project_id, split.snapshot_id)
        issues = subject_issues(version, snapshot, target, wanted.slices)
        if issues:
            raise Invalid("; ".join(issue.message for issue in issues), code="cannot_evaluate", issues=issues)
        live = None
        if wanted.endpoint is not None:
            live = self.endpoints.standing(session, project_id, wanted.endpoint).live
        if live is not None and store.release(session, project_id, live).version_id == version.id:
            live = None
        pinned = PinnedEvaluation(
            **wanted.model_dump(exclude={"split_id", "target"}),
            version_id=version.id,
            split_id=split_id,
            target=target,
            baseline_release_id=live,
        )
        return pinned.model_dump(mode="json")

    def prepare(self, job: ClaimedJob, staging: Staging) -> ChildWork:
        """Writes the snapshot and both model folders below `staging.inputs`."""
        spec = read_own(PinnedEvaluation, job.spec)
        bring = InputFolder(self.blobs, staging.inputs)
        with self.database.transaction(Scope(job.project_id, job.submitted_by)) as session:
            subject = find_subject(session, job.project_id, spec)
            trained = {
                version.id: trained_on(session, version)
                for version in (subject.version, subject.baseline)
                if version is not None
            }
        files = bring.snapshot(subject.snapshot)
        own_split = trained[subject.version.id]
        is_own_holdout = own_split is not None and own_split[1].id == subject.split.id
        candidate = bring.model(
            subject.version,
            "model",
            trained_on=None if is_own_holdout else own_split,
            shared_rows=subject.split.shared_rows.count if is_own_holdout else None,
        )
        baseline = subject.baseline
        task = EvaluateTask(
            candidate=candidate,
            baseline=bring.model(baseline, "baseline", trained_on=trained[baseline.id]) if baseline else None,
            data_files=files,
            split=subject.split.spec,
            target=spec.target,
            task=task_of(subject.version),
            slices=spec.slices,
            resamples=spec.resamples,
            seed=spec.seed,
            outputs=str(staging.outputs),
        )
        return ChildWork(entry="carrara.evaluation.child:run", argument=task.model_dump(mode="json"))

    def publish(
        self,
        job: ClaimedJob,  # noqa: ARG002  # the port's signature
        staging: Staging,
        result: Mapping[str, Any],
    ) -> Mapping[str, Any]:
        """Stores the scored rows."""
        outcome = read_own(EvaluateOutcome, result)
        blob = self.blobs.put_file(staging.outputs / PREDICTIONS_FILE)
        crashpoint("evaluate.after_predictions_stored")
        predictions = StoredBlob(digest=blob.digest, size=blob.size)
        return {"outcome": outcome.model_dump(mode="json"), "predictions": predictions.model_dump(mode="json")}

    def record(self, session: Session, job: ClaimedJob, published: Mapping[str, Any]) -> Mapping[str, Any]:
        """Writes the evaluation, counts the look at the holdout, and judges the gates if the spec has a policy."""
        spec = read_own(PinnedEvaluation, job.spec)
        outcome = EvaluateOutcome.model_validate(published["outcome"])
        subject = find_subject(session, job.project_id, spec)
        look = datasets.note_holdout_look(session, job.project_id, subject.split.id)
        baseline_id = ReleaseId(spec.baseline_release_id) if spec.baseline_release_id else None
        report = write_report(session, spec, subject, outcome, look=look)
        new = store.NewEvaluation(
            version_id=subject.version.id,
            split_id=subject.split.id,
            job_id=job.id,
            baseline_release_id=baseline_id if outcome.baseline else None,
            report=report,
            predictions=StoredBlob.model_validate(published["predictions"]),
        )
        evaluation_id, digest = store.add_evaluation(session, job.project_id, new)
        registry_service.mark_evaluated(session, job.project_id, subject.version.id, evaluation_id=evaluation_id)
        audit(
            session,
            "evaluation.recorded",
            actor=(None, "worker"),
            subject=("evaluation", evaluation_id),
            project_id=job.project_id,
            version=str(subject.version.id),
            digest=digest,
            look=look,
        )
        gates = None
        if spec.policy is not None:
            gates = judge_version(
                session,
                subject.version,
                endpoint=spec.endpoint,
                policy=parse_document(GatePolicy, spec.policy, "spec.policy"),
                live_release_id=baseline_id,
                now=self.clock.now(),
            )
        return EvaluationResult(
            evaluation_id=evaluation_id,
            digest=digest,
            model=spec.model,
            version=spec.version,
            metrics=outcome.metrics,
            differences=outcome.baseline.differences if outcome.baseline else {},
            rows=outcome.rows,
            gates=gates.model_dump(mode="json") if gates else None,
        ).model_dump(mode="json")

    def record_failure(self, session: Session, job: ClaimedJob, error: JobError) -> None:
        """The version stays as it is: it can be evaluated again."""


def _cannot(what: str, where: str) -> Invalid:
    return Invalid(what, code="cannot_evaluate", issues=[Issue(where, what, code="cannot_evaluate")])
