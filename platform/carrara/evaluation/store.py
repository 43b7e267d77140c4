"""SQL of evaluations and gate policies, and of the releases that they are about."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Select, case, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from carrara.contracts.evaluation import EvaluationReport, EvaluationView
from carrara.contracts.gates import PolicyView
from carrara.contracts.training import StoredBlob
from carrara.evaluation.tables import EvaluationRow, PolicyRow
from carrara.kernel.digests import Digest, digest_json
from carrara.kernel.errors import NotFound
from carrara.kernel.ids import (
    EvaluationId,
    JobId,
    PolicyId,
    ProjectId,
    ReleaseId,
    SplitId,
    UserId,
    VersionId,
    uuid7,
)
from carrara.registry.tables import ModelRow, ReleaseRow, VersionRow


@dataclass(frozen=True)
class ReleaseFacts:
    """A release and the version that it is of."""

    id: ReleaseId
    digest: str
    version_id: VersionId
    model: str
    number: int


@dataclass(frozen=True)
class NewEvaluation:
    """An evaluation to be written."""

    version_id: VersionId
    split_id: SplitId
    job_id: JobId
    baseline_release_id: ReleaseId | None
    report: EvaluationReport
    predictions: StoredBlob


def add_evaluation(session: Session, project_id: ProjectId, new: NewEvaluation) -> tuple[EvaluationId, Digest]:
    """The id and the digest of the report: over its canonical JSON."""
    report = new.report.model_dump(mode="json")
    row = EvaluationRow(
        id=uuid7(),
        project_id=project_id,
        version_id=new.version_id,
        split_id=new.split_id,
        job_id=new.job_id,
        baseline_release_id=new.baseline_release_id,
        digest=digest_json(report),
        report=report,
        predictions=new.predictions.model_dump(mode="json"),
    )
    session.add(row)
    session.flush()
    return EvaluationId(row.id), Digest(row.digest)


def evaluations(
    session: Session, project_id: ProjectId, version_id: VersionId, *, after: UUID | None, limit: int
) -> list[EvaluationView]:
    """The version's evaluations, newest first, from the one behind `after`."""
    chosen = _evaluations(project_id).where(EvaluationRow.version_id == version_id)
    if after is not None:
        chosen = chosen.where(EvaluationRow.id < after)
    return [_view(row) for row in session.scalars(chosen.order_by(EvaluationRow.id.desc()).limit(limit))]


def newest_evaluation(
    session: Session, project_id: ProjectId, version_id: VersionId, *, against: ReleaseId | None
) -> EvaluationView | None:
    """The newest that compared with the release `against`; the newest of all if there is no such."""
    compares = case((EvaluationRow.baseline_release_id == against, 0), else_=1)
    chosen = _evaluations(project_id).where(EvaluationRow.version_id == version_id)
    row = session.scalars(chosen.order_by(compares, EvaluationRow.id.desc()).limit(1)).one_or_none()
    return None if row is None else _view(row)


def evaluation(session: Session, project_id: ProjectId, evaluation_id: UUID) -> tuple[EvaluationView, StoredBlob]:
    """An evaluation and where its scored rows are."""
    row = session.scalars(_evaluations(project_id).where(EvaluationRow.id == evaluation_id)).one_or_none()
    if row is None or row.predictions is None:
        raise NotFound("evaluation", id=str(evaluation_id))
    return _view(row), StoredBlob.model_validate(row.predictions)


def put_policy(
    session: Session, project_id: ProjectId, document: dict[str, Any], created_by: UserId
) -> tuple[PolicyView, bool]:
    """The policy with this document, and whether it is new."""
    digest = digest_json(document)
    made = session.scalar(
        insert(PolicyRow)
        .values(id=uuid7(), project_id=project_id, digest=digest, document=document, created_by=created_by)
        .on_conflict_do_nothing(index_elements=["project_id", "digest"])
        .returning(PolicyRow.id)
    )
    return policy(session, project_id, digest), made is not None


def policy(session: Session, project_id: ProjectId, which: PolicyId | str) -> PolicyView:
    """A policy by its id or its digest."""
    column = PolicyRow.digest if isinstance(which, str) else PolicyRow.id
    row = session.scalars(select(PolicyRow).where(PolicyRow.project_id == project_id, column == which)).one_or_none()
    if row is None:
        raise NotFound("gate policy", id=str(which))
    return _policy(row)


def policies(session: Session, project_id: ProjectId, *, after: UUID | None, limit: int) -> list[PolicyView]:
    """The project's policies, newest first, from the one behind `after`."""
    chosen = select(PolicyRow).where(PolicyRow.project_id == project_id)
    if after is not None:
        chosen = chosen.where(PolicyRow.id < after)
    return [_policy(row) for row in session.scalars(chosen.order_by(PolicyRow.id.desc()).limit(limit))]


def release(session: Session, project_id: ProjectId, release_id: ReleaseId) -> ReleaseFacts:
    row = session.execute(_releases(project_id).where(ReleaseRow.id == release_id)).one_or_none()
    if row is None:
        raise NotFound("release", id=str(release_id))
    return ReleaseFacts(ReleaseId(row.id), row.digest, VersionId(row.version_id), row.name, row.number)


def release_digest_of(session: Session, project_id: ProjectId, version_id: VersionId) -> str | None:
    """The digest of the version's release, if it has one."""
    row = session.execute(_releases(project_id).where(ReleaseRow.version_id == version_id)).one_or_none()
    return None if row is None else str(row.digest)


def _evaluations(project_id: ProjectId) -> Select[EvaluationRow]:
    return select(EvaluationRow).where(EvaluationRow.project_id == project_id)


def _releases(project_id: ProjectId) -> Any:
    return (
        select(ReleaseRow.id, ReleaseRow.digest, ReleaseRow.version_id, ModelRow.name, VersionRow.number)
        .join(VersionRow, (VersionRow.project_id == ReleaseRow.project_id) & (VersionRow.id == ReleaseRow.version_id))
        .join(ModelRow, (ModelRow.project_id == VersionRow.project_id) & (ModelRow.id == VersionRow.model_id))
        .where(ReleaseRow.project_id == project_id)
    )


def _view(row: EvaluationRow) -> EvaluationView:
    return EvaluationView(
        id=row.id,
        digest=row.digest,
        job_id=row.job_id,
        created_at=row.created_at,
        report=EvaluationReport.model_validate(row.report),
    )


def _policy(row: PolicyRow) -> PolicyView:
    return PolicyView(id=row.id, digest=row.digest, document=row.document, created_at=row.created_at)
