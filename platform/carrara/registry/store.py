"""SQL of models, versions and releases: what a use case reads and writes. Listings are in `listing`."""

from typing import Any
from uuid import UUID

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from carrara.access.domain import Project
from carrara.access.store import to_project
from carrara.access.tables import ProjectRow, UserRow
from carrara.contracts.contract import ModelContract
from carrara.contracts.registry import VersionState
from carrara.contracts.release import ArtifactFile
from carrara.kernel.errors import NotFound
from carrara.kernel.ids import JobId, ModelId, ProjectId, ReleaseId, UserId, VersionId, uuid7
from carrara.registry.domain import Checked, NewVersion, Rejection, Version, VersionSource
from carrara.registry.model_folder import ModelFolder
from carrara.registry.tables import ModelRow, ReleaseRow, VersionRow

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")


def hold(session: Session, key: str) -> None:
    """Keeps everyone else who holds `key` waiting until this transaction ends."""
    session.execute(_LOCK, {"key": f"registry:{key}"})


def ensure_model(
    session: Session, project_id: ProjectId, name: str, *, created_by: UserId, description: str
) -> tuple[ModelId, bool]:
    """The model's id, and whether it was made just now."""
    made = session.execute(
        insert(ModelRow)
        .values(id=uuid7(), project_id=project_id, name=name, description=description, created_by=created_by)
        .on_conflict_do_nothing(index_elements=["project_id", "name"])
        .returning(ModelRow.id)
    ).scalar_one_or_none()
    if made is not None:
        return ModelId(made), True
    chosen = select(ModelRow.id).where(ModelRow.project_id == project_id, ModelRow.name == name)
    return ModelId(session.execute(chosen).scalar_one()), False


def insert_version(session: Session, project_id: ProjectId, model_id: ModelId, new: NewVersion) -> VersionId:
    """A row in state `registered`. An integrity error means that it is there already."""
    row = VersionRow(
        id=uuid7(),
        project_id=project_id,
        model_id=model_id,
        number=new.number,
        state=VersionState.REGISTERED.value,
        source=new.source.value,
        job_id=new.job_id,
        mlflow_run_id=new.mlflow_run_id,
        mlflow_source=new.mlflow_source,
        task=new.task,
        artifact_digest=new.artifact_digest,
        artifact_bytes=sum(file.size for file in new.files) if new.artifact_digest else None,
        artifact_files=_files_json(new.files),
        flavor=new.flavor,
        serialization=new.serialization,
        contract=new.contract.model_dump(mode="json") if new.contract else None,
        golden_candidates=new.golden_candidates,
        metrics=dict(new.metrics),
        lineage=dict(new.lineage),
        author_id=new.author_id,
    )
    session.add(row)
    session.flush()
    return VersionId(row.id)


def get_version(session: Session, project_id: ProjectId, version_id: UUID, *, lock: bool = False) -> Version:
    """The version; with `lock` nobody else changes it until this transaction ends."""
    chosen = _versions(project_id).where(VersionRow.id == version_id)
    return _one(session, chosen, lock=lock, id=str(version_id))


def find_version(session: Session, project_id: ProjectId, model: str, number: int, *, lock: bool = False) -> Version:
    """The version of this name; `NotFound` if there is none."""
    chosen = _versions(project_id).where(ModelRow.name == model, VersionRow.number == number)
    return _one(session, chosen, lock=lock, model=model, version=number)


def version_of_job(session: Session, project_id: ProjectId, job_id: JobId) -> Version | None:
    """The version that a training job made."""
    found = session.execute(_versions(project_id).where(VersionRow.job_id == job_id)).one_or_none()
    return None if found is None else _version(found[0], found[1])


def known_numbers(session: Session, project_id: ProjectId, model: str, numbers: set[int]) -> set[int]:
    """Which of these numbers of a model the registry has."""
    chosen = (
        select(VersionRow.number)
        .join(ModelRow, (ModelRow.project_id == VersionRow.project_id) & (ModelRow.id == VersionRow.model_id))
        .where(VersionRow.project_id == project_id, ModelRow.name == model, VersionRow.number.in_(numbers))
    )
    return set(session.scalars(chosen))


def keep_files(session: Session, version: Version, digest: str, files: tuple[ArtifactFile, ...]) -> bool:
    """Notes which bytes an adopted version is. False if others were noted before: those count, for ever."""
    changed = session.execute(
        update(VersionRow)
        .where(VersionRow.id == version.id, VersionRow.artifact_digest.is_(None))
        .values(
            artifact_digest=digest, artifact_bytes=sum(file.size for file in files), artifact_files=_files_json(files)
        )
        .returning(VersionRow.id)
    )
    return changed.one_or_none() is not None


def write_state(session: Session, version: Version, state: VersionState, **values: Any) -> None:
    session.execute(update(VersionRow).where(VersionRow.id == version.id).values(state=state.value, **values))


def write_inspection(session: Session, version: Version, folder: ModelFolder, contract: ModelContract | None) -> None:
    """How the version's files say that they are loaded, and the contract of its signature."""
    values: dict[str, Any] = {
        "inspection": folder.inspection(),
        "flavor": folder.flavor,
        "serialization": folder.serialization,
    }
    if contract is not None:
        values["contract"] = contract.model_dump(mode="json")
    registered = VersionRow.state == VersionState.REGISTERED.value
    session.execute(update(VersionRow).where(VersionRow.id == version.id, registered).values(**values))


def write_rejection(session: Session, version: Version, rejection: Rejection) -> None:
    told = {"reason": rejection.reason.value, "message": rejection.message, "facts": rejection.facts}
    write_state(session, version, VersionState.REJECTED, rejection=told)


def write_checked(session: Session, version: Version, checked: Checked) -> ReleaseId:
    """The version as it was found to be, and its release."""
    write_state(
        session,
        version,
        VersionState.VALIDATED,
        contract=checked.contract.model_dump(mode="json"),
        task=checked.contract.task,
        flavor=checked.flavor,
        serialization=checked.serialization,
    )
    row = ReleaseRow(
        id=uuid7(),
        project_id=version.project_id,
        version_id=version.id,
        digest=checked.manifest.digest(),
        manifest=checked.manifest.model_dump(mode="json"),
    )
    session.add(row)
    session.flush()
    return ReleaseId(row.id)


def release_of(session: Session, version: Version) -> tuple[ReleaseId, str] | None:
    """The id and the digest of the version's release, if it has one."""
    chosen = select(ReleaseRow.id, ReleaseRow.digest)
    row = session.execute(
        chosen.where(ReleaseRow.project_id == version.project_id, ReleaseRow.version_id == version.id)
    ).one_or_none()
    return None if row is None else (ReleaseId(row.id), row.digest)


def project(session: Session, project_id: ProjectId) -> Project:
    """The project itself: its rules on pickles and its tier."""
    row = session.get(ProjectRow, project_id)
    if row is None:
        raise NotFound("project", id=str(project_id))
    return to_project(row)


def projects(session: Session) -> list[ProjectId]:
    """All of them, the oldest first."""
    return [ProjectId(found) for found in session.scalars(select(ProjectRow.id).order_by(ProjectRow.id))]


def user_name(session: Session, user_id: UserId) -> str:
    """The user's name, for audit records; `NotFound` if there is no such user."""
    name = session.scalar(select(UserRow.name).where(UserRow.id == user_id))
    if name is None:
        raise NotFound("user", id=str(user_id))
    return name


def _versions(project_id: ProjectId) -> Any:
    return (
        select(VersionRow, ModelRow.name)
        .join(ModelRow, (ModelRow.project_id == VersionRow.project_id) & (ModelRow.id == VersionRow.model_id))
        .where(VersionRow.project_id == project_id)
    )


def _one(session: Session, chosen: Any, *, lock: bool, **named: Any) -> Version:
    if lock:
        chosen = chosen.with_for_update(of=VersionRow)
    found = session.execute(chosen.execution_options(populate_existing=True)).one_or_none()
    if found is None:
        raise NotFound("model version", **named)
    return _version(found[0], found[1])


def _version(row: VersionRow, model: str) -> Version:
    said = NewVersion(
        model=model,
        number=row.number,
        source=VersionSource(row.source),
        author_id=UserId(row.author_id),
        job_id=JobId(row.job_id) if row.job_id else None,
        mlflow_run_id=row.mlflow_run_id,
        mlflow_source=row.mlflow_source,
        task=row.task,
        artifact_digest=row.artifact_digest,
        files=tuple(ArtifactFile.model_validate(file) for file in row.artifact_files),
        flavor=row.flavor,
        serialization=row.serialization,
        contract=ModelContract.model_validate(row.contract) if row.contract else None,
        golden_candidates=row.golden_candidates,
        metrics=row.metrics,
        lineage=row.lineage,
    )
    return Version(VersionId(row.id), ProjectId(row.project_id), VersionState(row.state), said)


def _files_json(files: tuple[ArtifactFile, ...]) -> list[Any]:
    return [file.model_dump(mode="json") for file in files]
