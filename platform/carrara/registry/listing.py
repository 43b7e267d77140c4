"""Reading the registry: pages by key, one statement each, in an order that an index has."""

from typing import Any
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import Row, Select, func, select
from sqlalchemy.orm import Session

from carrara.access.tables import UserRow
from carrara.contracts.contract import ModelContract
from carrara.contracts.registry import ModelView, ReleaseView, VersionState, VersionSummary, VersionView
from carrara.contracts.release import ArtifactFile, ReleaseManifest
from carrara.contracts.wire import Page
from carrara.kernel.errors import Invalid, Issue, NotFound
from carrara.kernel.ids import ProjectId
from carrara.registry.tables import ModelRow, ReleaseRow, VersionRow

_SUMMARIES = TypeAdapter(list[VersionSummary])
_SUMMARY = (
    VersionRow.id,
    VersionRow.number,
    VersionRow.state,
    VersionRow.source,
    VersionRow.task,
    VersionRow.metrics,
    VersionRow.rejection,
    VersionRow.created_at,
    ModelRow.name.label("model"),
    UserRow.name.label("author"),
    ReleaseRow.digest.label("release"),
)
_REST = (
    VersionRow.job_id,
    VersionRow.mlflow_run_id,
    VersionRow.artifact_digest,
    VersionRow.artifact_bytes,
    VersionRow.artifact_files,
    VersionRow.flavor,
    VersionRow.serialization,
    VersionRow.inspection,
    VersionRow.contract,
    VersionRow.lineage,
)


def models_page(
    session: Session, project_id: ProjectId, *, search: str | None, limit: int, after: str | None
) -> Page[ModelView]:
    """Models by name; `search` is any part of the name, `after` the last name of the page before."""
    chosen = _models(project_id).order_by(ModelRow.name).limit(limit + 1)
    if search:
        chosen = chosen.where(ModelRow.name.contains(search, autoescape=True))
    if after is not None:
        chosen = chosen.where(ModelRow.name > after)
    rows = session.execute(chosen).all()
    items = [_model(row) for row in rows[:limit]]
    return Page(items=items, next=items[-1].name if len(rows) > limit else None)


def get_model(session: Session, project_id: ProjectId, name: str) -> ModelView:
    row = session.execute(_models(project_id).where(ModelRow.name == name)).one_or_none()
    if row is None:
        raise NotFound("model", name=name)
    return _model(row)


def versions_of_model(
    session: Session,
    project_id: ProjectId,
    model: str,
    *,
    state: VersionState | None = None,
    job_id: UUID | None = None,
    limit: int,
    after: str | None,
) -> Page[VersionSummary]:
    """A model's versions, the newest first; `after` is the last number. `NotFound` if there is no such model."""
    model_id = select(ModelRow.id).where(ModelRow.project_id == project_id, ModelRow.name == model).scalar_subquery()
    chosen = _versions(project_id, _SUMMARY).where(VersionRow.model_id == model_id)
    chosen = chosen.order_by(VersionRow.number.desc()).limit(limit + 1)
    if state is not None:
        chosen = chosen.where(VersionRow.state == state.value)
    if job_id is not None:
        chosen = chosen.where(VersionRow.job_id == job_id)
    if after is not None:
        chosen = chosen.where(VersionRow.number < _number(after))
    page = _page(session, chosen, limit, lambda item: str(item.number))
    if not page.items and job_id is None:  # a training job is asked for its version before there is a model
        get_model(session, project_id, model)
    return page


def search_versions(
    session: Session,
    project_id: ProjectId,
    *,
    search: str | None = None,
    state: VersionState | None = None,
    limit: int,
    after: UUID | None,
) -> Page[VersionSummary]:
    """Versions of all models whose name has `search` in it, the newest first; `after` is the last id."""
    chosen = _versions(project_id, _SUMMARY).order_by(VersionRow.id.desc()).limit(limit + 1)
    if search:
        models = select(ModelRow.id).where(
            ModelRow.project_id == project_id, ModelRow.name.contains(search, autoescape=True)
        )
        chosen = chosen.where(VersionRow.model_id.in_(session.scalars(models).all()))
    if state is not None:
        chosen = chosen.where(VersionRow.state == state.value)
    if after is not None:
        chosen = chosen.where(VersionRow.id < after)
    return _page(session, chosen, limit, lambda item: str(item.id))


def get_version(session: Session, project_id: ProjectId, model: str, number: int) -> VersionView:
    """All of a version; `NotFound` if there is none."""
    chosen = _versions(project_id, _SUMMARY + _REST).where(ModelRow.name == model, VersionRow.number == number)
    row = session.execute(chosen).one_or_none()
    if row is None:
        raise NotFound("model version", model=model, version=number)
    return VersionView(
        **_summary(row),
        job_id=row.job_id,
        mlflow_run_id=row.mlflow_run_id,
        artifact_digest=row.artifact_digest,
        artifact_bytes=row.artifact_bytes,
        files=[ArtifactFile.model_validate(file) for file in row.artifact_files],
        flavor=row.flavor,
        serialization=row.serialization,
        inspection=row.inspection,
        contract=ModelContract.model_validate(row.contract) if row.contract else None,
        lineage=row.lineage,
    )


def get_release(session: Session, project_id: ProjectId, digest: str) -> ReleaseView:
    """The release of this digest."""
    columns = (ReleaseRow.id.label("release_id"), ReleaseRow.manifest, ReleaseRow.created_at.label("made_at"))
    chosen = _versions(project_id, _SUMMARY + columns).where(ReleaseRow.digest == digest)
    row = session.execute(chosen).one_or_none()
    if row is None:
        raise NotFound("release", digest=digest)
    return ReleaseView(
        id=row.release_id,
        digest=digest,
        model=row.model,
        version=row.number,
        state=VersionState(row.state),
        author=row.author,
        manifest=ReleaseManifest.model_validate(row.manifest),
        created_at=row.made_at,
    )


def _models(project_id: ProjectId) -> Select[Any]:
    newest = (
        select(VersionRow.number, VersionRow.state)
        .where(VersionRow.project_id == ModelRow.project_id, VersionRow.model_id == ModelRow.id)
        .order_by(VersionRow.number.desc())
        .limit(1)
        .lateral("newest")
    )
    count = (
        select(func.count())
        .select_from(VersionRow)
        .where(VersionRow.project_id == ModelRow.project_id, VersionRow.model_id == ModelRow.id)
        .scalar_subquery()
    )
    return (
        select(
            ModelRow.id,
            ModelRow.name,
            ModelRow.description,
            ModelRow.created_at,
            UserRow.name.label("created_by"),
            count.label("versions"),
            newest.c.number,
            newest.c.state,
        )
        .join(UserRow, UserRow.id == ModelRow.created_by)
        .outerjoin(newest, func.coalesce(True))
        .where(ModelRow.project_id == project_id)
    )


def _model(row: Row[Any]) -> ModelView:
    return ModelView(
        id=row.id,
        name=row.name,
        description=row.description,
        created_at=row.created_at,
        created_by=row.created_by,
        versions=row.versions,
        latest_version=row.number,
        latest_state=VersionState(row.state) if row.state else None,
    )


def _versions(project_id: ProjectId, columns: tuple[Any, ...]) -> Select[Any]:
    return (
        select(*columns)
        .select_from(VersionRow)
        .join(ModelRow, (ModelRow.project_id == VersionRow.project_id) & (ModelRow.id == VersionRow.model_id))
        .join(UserRow, UserRow.id == VersionRow.author_id)
        .outerjoin(
            ReleaseRow, (ReleaseRow.project_id == VersionRow.project_id) & (ReleaseRow.version_id == VersionRow.id)
        )
        .where(VersionRow.project_id == project_id)
    )


def _page(session: Session, chosen: Select[Any], limit: int, key: Any) -> Page[VersionSummary]:
    rows = session.execute(chosen).all()
    items = _SUMMARIES.validate_python([_summary(row) for row in rows[:limit]])
    return Page(items=items, next=key(items[-1]) if len(rows) > limit else None)


def _summary(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "model": row.model,
        "number": row.number,
        "state": row.state,
        "source": row.source,
        "task": row.task,
        "author": row.author,
        "release": row.release,
        "metrics": row.metrics,
        "rejection": row.rejection,
        "created_at": row.created_at,
    }


def _number(after: str) -> int:
    if after.isascii() and after.isdigit() and len(after) < 10:  # a version number fits in 32 bits
        return int(after)
    issue = Issue("after", f"{after[:40]!r} is no version number", "bad_place")
    raise Invalid("after: expected a version number, as `next` gave it", code="bad_place", issues=[issue])
