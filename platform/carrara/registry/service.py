"""A version's life: every way from one state to the next, under the row's lock and with its audit record."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from carrara.access.domain import Actor
from carrara.audit.service import record
from carrara.contracts.registry import VersionState
from carrara.kernel.errors import Conflict
from carrara.kernel.ids import EvaluationId, ProjectId, ReleaseId, VersionId
from carrara.kernel.names import check_slug
from carrara.persistence.database import savepoint
from carrara.registry import store
from carrara.registry.domain import VERSION_STATES, Checked, NewVersion, Rejection, Version
from carrara.registry.ports import ReleaseUse

WORKER = (None, "worker")
CONTROLLER = (None, "controller")
Who = tuple[UUID | None, str]


def register(session: Session, project_id: ProjectId, new: NewVersion) -> VersionId | None:
    """Enters a version, and its model if that is new. None if the registry has this version already."""
    check_slug(new.model, "model")
    author: Who = (new.author_id, store.user_name(session, new.author_id))
    model_id, is_new = store.ensure_model(
        session, project_id, new.model, created_by=new.author_id, description=new.description
    )
    if is_new:
        record(
            session, "model.created", actor=author, subject=("model", model_id), project_id=project_id, name=new.model
        )
    try:
        with savepoint(session):
            version_id = store.insert_version(session, project_id, model_id, new)
    except IntegrityError:
        return None
    record(
        session,
        "version.registered",
        actor=author,
        subject=("version", version_id),
        project_id=project_id,
        model=new.model,
        number=new.number,
        source=new.source.value,
        job=str(new.job_id) if new.job_id else None,
        artifact=new.artifact_digest,
    )
    return version_id


def validate(session: Session, version: Version, checked: Checked) -> ReleaseId:
    """The version held up: it becomes `validated`, and has a release from now on. `version` is locked."""
    VERSION_STATES.check(version.state, VersionState.VALIDATED)
    release_id = store.write_checked(session, version, checked)
    _note(session, "version.validated", WORKER, version, release=checked.manifest.digest())
    return release_id


def reject(session: Session, version: Version, rejection: Rejection, *, who: Who = WORKER) -> None:
    """The version can never go live. `version` is locked."""
    VERSION_STATES.check(version.state, VersionState.REJECTED)
    store.write_rejection(session, version, rejection)
    _note(session, "version.rejected", who, version, reason=rejection.reason.value, message=rejection.message[:500])


def note_unfinished(session: Session, version: Version, reason: str) -> None:
    """The validation ended for a reason that is not the version's: it stays as it is and can be validated again."""
    _note(session, "version.validation_failed", WORKER, version, reason=reason)


def mark_evaluated(
    session: Session, project_id: ProjectId, version_id: VersionId, *, evaluation_id: EvaluationId
) -> None:
    """There is evidence on the version now; a second evaluation changes nothing here. `Conflict` before validation."""
    version = store.get_version(session, project_id, version_id, lock=True)
    if version.state is not VersionState.EVALUATED:
        VERSION_STATES.check(version.state, VersionState.EVALUATED)
        store.write_state(session, version, VersionState.EVALUATED)
    _note(session, "version.evaluated", WORKER, version, evaluation=str(evaluation_id))


def retire(
    session: Session,
    project_id: ProjectId,
    actor: Actor,
    name: tuple[str, int],
    *,
    reason: str,
    is_release_in_use: ReleaseUse,
) -> None:
    """Takes the version `name` (model, number) out of use. `Conflict(in_use)` names what still needs it."""
    version = store.find_version(session, project_id, *name, lock=True)
    release = store.release_of(session, version)
    referrers = is_release_in_use(session, version.project_id, release[0]) if release else []
    if referrers:
        raise Conflict(
            f"{version.name} cannot be retired: its release is {'; '.join(referrers)}. Promote another first",
            code="in_use",
            referrers=referrers,
        )
    VERSION_STATES.check(version.state, VersionState.RETIRED)
    store.write_state(session, version, VersionState.RETIRED)
    _note(session, "version.retired", (actor.id, actor.name), version, reason=reason)


def _note(session: Session, action: str, who: Who, version: Version, **details: Any) -> None:
    named: Mapping[str, Any] = {"model": version.said.model, "number": version.said.number, **details}
    record(session, action, actor=who, subject=("version", version.id), project_id=version.project_id, **named)
