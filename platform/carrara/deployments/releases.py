"""What deployments read of the features below, whose rows these are. SQL."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from carrara.access.domain import Project
from carrara.access.store import to_project, user_names
from carrara.access.tables import ProjectRow
from carrara.contracts.deployments import ReleaseChoice
from carrara.deployments.domain import Release, VersionFacts
from carrara.evaluation.tables import PolicyRow
from carrara.kernel.digests import Digest
from carrara.kernel.errors import NotFound
from carrara.kernel.ids import PolicyId, ProjectId, ReleaseId, UserId, VersionId
from carrara.registry.tables import ModelRow, ReleaseRow, VersionRow


def version_facts(session: Session, project_id: ProjectId, choice: ReleaseChoice) -> VersionFacts:
    """The version that was chosen, with its release if it has one; `NotFound` naming what is not there."""
    if choice.release is not None:
        found = session.execute(_versions(project_id).where(ReleaseRow.digest == choice.release)).one_or_none()
        if found is None:
            raise NotFound("release", digest=choice.release)
        return _facts(found)
    chosen = _versions(project_id).where(ModelRow.name == choice.model, VersionRow.number == choice.version)
    found = session.execute(chosen).one_or_none()
    if found is None:
        raise NotFound("model version", model=choice.model, version=choice.version)
    return _facts(found)


def find_release(session: Session, project_id: ProjectId, digest: str) -> Release:
    """The release with this digest; `NotFound` if there is none."""
    found = session.execute(_releases(project_id).where(ReleaseRow.digest == digest)).one_or_none()
    if found is None:
        raise NotFound("release", digest=digest)
    return _release(found)


def releases_by_id(
    session: Session, project_id: ProjectId, ids: Iterable[ReleaseId | None]
) -> dict[ReleaseId, Release]:
    """The releases behind these ids; None among them is skipped."""
    wanted = {release_id for release_id in ids if release_id is not None}
    if not wanted:
        return {}
    rows = session.execute(_releases(project_id).where(ReleaseRow.id.in_(wanted)))
    return {ReleaseId(row.release_id): _release(row) for row in rows}


def policy_by_digest(session: Session, project_id: ProjectId, digest: str) -> PolicyId:
    """The policy with this digest; `NotFound` with what to do."""
    chosen = select(PolicyRow.id).where(PolicyRow.project_id == project_id, PolicyRow.digest == digest)
    found = session.scalar(chosen)
    if found is None:
        raise NotFound("gate policy", digest=digest, hint="Put the policy first; the answer gives its digest")
    return PolicyId(found)


def policy_digests(session: Session, project_id: ProjectId, ids: Iterable[PolicyId]) -> dict[PolicyId, str]:
    chosen = select(PolicyRow.id, PolicyRow.digest)
    rows = session.execute(chosen.where(PolicyRow.project_id == project_id, PolicyRow.id.in_(set(ids))))
    return {PolicyId(row.id): row.digest for row in rows}


def project_by_id(session: Session, project_id: ProjectId) -> Project:
    return to_project(session.get_one(ProjectRow, project_id))


def person_name(session: Session, user_id: UserId) -> str:
    return user_names(session, [user_id]).get(user_id, str(user_id))


def _columns() -> tuple[Any, ...]:
    return (
        ReleaseRow.id.label("release_id"),
        ReleaseRow.digest.label("digest"),
        ReleaseRow.manifest["golden"]["rows"].as_integer().label("golden_rows"),
        VersionRow.id.label("version_id"),
        VersionRow.number.label("number"),
        ModelRow.name.label("model"),
    )


def _releases(project_id: ProjectId) -> Select[Any]:
    return (
        select(*_columns())
        .join(VersionRow, (VersionRow.project_id == ReleaseRow.project_id) & (VersionRow.id == ReleaseRow.version_id))
        .join(ModelRow, (ModelRow.project_id == VersionRow.project_id) & (ModelRow.id == VersionRow.model_id))
        .where(ReleaseRow.project_id == project_id)
    )


def _versions(project_id: ProjectId) -> Select[Any]:
    return (
        select(*_columns(), VersionRow.state, VersionRow.rejection, VersionRow.author_id)
        .select_from(VersionRow)
        .join(ModelRow, (ModelRow.project_id == VersionRow.project_id) & (ModelRow.id == VersionRow.model_id))
        .outerjoin(
            ReleaseRow, (ReleaseRow.project_id == VersionRow.project_id) & (ReleaseRow.version_id == VersionRow.id)
        )
        .where(VersionRow.project_id == project_id)
    )


def _release(row: Row[Any]) -> Release:
    return Release(
        id=ReleaseId(row.release_id),
        digest=Digest(row.digest),
        version_id=VersionId(row.version_id),
        model=row.model,
        number=row.number,
        golden_rows=row.golden_rows,
    )


def _facts(row: Row[Any]) -> VersionFacts:
    return VersionFacts(
        id=VersionId(row.version_id),
        model=row.model,
        number=row.number,
        state=row.state,
        rejection=row.rejection,
        author_id=UserId(row.author_id),
        release=_release(row) if row.release_id is not None else None,
    )
