"""What an evaluation is about: a version, the rows that it is scored on, and the version that is live."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.orm import Session

from carrara.contracts.documents import did_you_mean
from carrara.contracts.evaluation import PinnedEvaluation
from carrara.contracts.training import Target, TrainingLineage
from carrara.datasets import service as datasets
from carrara.datasets.domain import Snapshot, Split
from carrara.datasets.labelled import check_target_type
from carrara.evaluation import store
from carrara.kernel.errors import Invalid, Issue
from carrara.kernel.ids import ProjectId, ReleaseId, SnapshotId, SplitId, VersionId
from carrara.registry import store as registry
from carrara.registry.domain import Version


@dataclass(frozen=True)
class Subject:
    """What is evaluated, on which rows, and what it is compared with."""

    version: Version
    split: Split
    snapshot: Snapshot
    baseline: Version | None


def find_subject(session: Session, project_id: ProjectId, spec: PinnedEvaluation) -> Subject:
    """What a pinned spec names."""
    split = datasets.get_split(session, project_id, SplitId(spec.split_id))
    baseline = None
    if spec.baseline_release_id is not None:
        release = store.release(session, project_id, ReleaseId(spec.baseline_release_id))
        baseline = registry.get_version(session, project_id, release.version_id)
    return Subject(
        version=registry.get_version(session, project_id, VersionId(spec.version_id)),
        split=split,
        snapshot=datasets.snapshot_by_id(session, project_id, split.snapshot_id),
        baseline=baseline,
    )


def lineage_of(version: Version) -> TrainingLineage | None:
    """Where the version comes from, if it was trained here."""
    return TrainingLineage.model_validate(version.said.lineage) if version.said.lineage.get("data") else None


def trained_on(session: Session, version: Version) -> tuple[Snapshot, Split] | None:
    """The snapshot and the split whose training rows made the version; None if that is not known."""
    lineage = lineage_of(version)
    if lineage is None:
        return None
    snapshot = datasets.snapshot_by_id(session, version.project_id, SnapshotId(lineage.data.snapshot_id))
    return snapshot, datasets.get_split(session, version.project_id, SplitId(lineage.data.split_id))


def subject_issues(version: Version, snapshot: Snapshot, target: Target, slices: Sequence[str]) -> list[Issue]:
    """What speaks against scoring the version on this snapshot."""
    columns = snapshot.types
    issues = []
    contract = version.said.contract
    if contract is None or contract.task == "generic":
        what = f"{version.name} has no task that could be measured: its model is neither classifier nor regressor"
        issues.append(Issue("spec.version", what, code="no_task"))
    for column in contract.inputs if contract else []:
        if column.name not in columns and not column.nullable:
            what = f"the snapshot has no column {column.name!r}, which the model needs"
            issues.append(Issue("spec.split_id", what, code="missing_column"))
    for key, name in [("target", target.column), *((f"slices.{k}", name) for k, name in enumerate(slices))]:
        if name not in columns:
            what = f"there is no column {name!r}{did_you_mean(name, columns)}"
            issues.append(Issue(f"spec.{key}", what, code="unknown_column"))
    if not issues:
        wrong = check_target_type(target, task_of(version), columns[target.column])
        issues += [wrong] if wrong else []
    return issues


def task_of(version: Version) -> Literal["classification", "regression"]:
    """The version's task, which `subject_issues` found to be there."""
    contract = version.said.contract
    if contract is None or contract.task == "generic":
        raise Invalid(f"{version.name} has no task that could be measured", code="no_task")
    return contract.task
