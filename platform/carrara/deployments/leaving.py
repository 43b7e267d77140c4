"""What a person is told who wants to leave a release that somebody else has left already."""

from typing import NoReturn

from sqlalchemy.orm import Session

from carrara.access.domain import Project
from carrara.deployments import history_store, releases, store
from carrara.deployments.domain import Endpoint, LedgerKind, Release
from carrara.kernel.errors import Conflict

_MOST_LOOKED_AT = 20


def refuse_left(session: Session, project: Project, endpoint: Endpoint, left: Release) -> NoReturn:
    """Raises `Conflict(not_live)`: what answers now, and by whom, when and why `left` was left, if it ever answered."""
    live = releases.releases_by_id(session, project.id, [endpoint.desired])
    now = next((release.title for release in live.values()), "the fallback, or nothing")
    by, told = _how_left(session, endpoint, left)
    message = f"{left.title} does not answer at {endpoint.name} any more: {now} does{told}"
    raise Conflict(message, code="not_live", live=now, by=by)


def _how_left(session: Session, endpoint: Endpoint, left: Release) -> tuple[str | None, str]:
    entries = history_store.ledger_of(session, endpoint)
    last = next((entry for entry in reversed(entries) if entry.previous_release_id == left.id), None)
    ended = next(
        (
            rollout
            for rollout in store.rollouts_before(session, endpoint, None, _MOST_LOOKED_AT)
            if rollout.release_id == left.id and rollout.finished_at is not None and not rollout.has_switched
        ),
        None,
    )
    if ended is not None and ended.finished_at is not None and (last is None or ended.finished_at > last.at):
        return None, f"; its rollout was {ended.state} at {ended.finished_at:%H:%M:%S} UTC: {ended.reason}"
    if last is None:
        return None, ""
    by = releases.person_name(session, last.actor_id) if last.actor_id else "carrara"
    did = "rolled it back" if last.kind is LedgerKind.ROLLBACK else "promoted another"
    return by, f"; {by} {did} at {last.at:%H:%M:%S} UTC: {last.reason}"
