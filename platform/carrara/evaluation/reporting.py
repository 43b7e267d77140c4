"""Writes the report of an evaluation, which is evidence and never changes."""

from sqlalchemy.orm import Session

from carrara.contracts.evaluation import Baseline, EvaluatedData, EvaluationReport, PinnedEvaluation
from carrara.evaluation import store
from carrara.evaluation.outcome import EvaluateOutcome
from carrara.evaluation.subject import Subject, task_of
from carrara.kernel.ids import ReleaseId


def write_report(
    session: Session,
    spec: PinnedEvaluation,
    subject: Subject,
    outcome: EvaluateOutcome,
    *,
    look: int,
) -> EvaluationReport:
    """`look` tells how often this holdout was looked at, this time included."""
    said = subject.version.said
    baseline = None
    if outcome.baseline is not None and spec.baseline_release_id is not None and spec.endpoint is not None:
        release = store.release(session, subject.version.project_id, ReleaseId(spec.baseline_release_id))
        baseline = Baseline(
            endpoint=spec.endpoint,
            release_id=release.id,
            release_digest=release.digest,
            model=release.model,
            version=release.number,
            **outcome.baseline.model_dump(),
        )
    return EvaluationReport(
        model=said.model,
        version=said.number,
        artifact_digest=said.artifact_digest or "",
        artifact_bytes=sum(file.size for file in said.files),
        task=task_of(subject.version),
        classes=said.contract.classes if said.contract else None,
        positive_class=outcome.positive_class,
        data=_data(spec, subject, outcome, look),
        metrics=outcome.metrics,
        resamples=spec.resamples,
        seed=spec.seed,
        latency=outcome.latency,
        rows_per_second=outcome.rows_per_second,
        slices=outcome.slices,
        baseline=baseline,
        notes=outcome.notes,
    )


def _data(spec: PinnedEvaluation, subject: Subject, outcome: EvaluateOutcome, look: int) -> EvaluatedData:
    return EvaluatedData(
        dataset=subject.snapshot.dataset,
        snapshot_id=subject.snapshot.id,
        snapshot_number=subject.snapshot.number,
        snapshot_digest=subject.snapshot.digest,
        split_id=subject.split.id,
        split_digest=subject.split.digest,
        rows=outcome.rows,
        target=str(spec.target),
        dropped_null_targets=outcome.dropped_null_targets,
        look=look,
        shared_rows=outcome.shared_rows,
    )
