"""Who still needs a release: the registry asks before a version is retired (its port `ReleaseUse`)."""

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from carrara.deployments.tables import EndpointRow
from carrara.kernel.ids import ProjectId, ReleaseId

_NEEDS = (
    (EndpointRow.current_release_id, "live at endpoint"),
    (EndpointRow.desired_release_id, "to be live at endpoint"),
    (EndpointRow.candidate_release_id, "being promoted at endpoint"),
    (EndpointRow.rollback_target_id, "the way back of endpoint"),
)


def release_use(session: Session, project_id: ProjectId, release_id: ReleaseId) -> list[str]:
    """What needs this release, one line an endpoint; empty if nothing does.

    Holds the project's endpoints until the transaction ends, so that no promotion starts in between.
    """
    session.execute(select(EndpointRow.id).where(EndpointRow.project_id == project_id).with_for_update(read=True))
    chosen = select(EndpointRow.name, *(column for column, _ in _NEEDS)).where(
        EndpointRow.project_id == project_id, or_(*(column == release_id for column, _ in _NEEDS))
    )
    found = session.execute(chosen.order_by(EndpointRow.name))
    return [
        next(f"{need} {row.name!r}" for (column, need) in _NEEDS if getattr(row, column.key) == release_id)
        for row in found
    ]
