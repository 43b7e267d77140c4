"""SQL behind the route table. The transaction must see all projects."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from carrara.access.tables import MembershipRow, ProjectRow, TokenRow, UserRow
from carrara.contracts.release import ReleaseManifest
from carrara.contracts.routes import Fallback, RouteTable
from carrara.deployments.instance_store import current_generation
from carrara.deployments.route_table import EndpointFacts, build_route_table
from carrara.deployments.store import bump_generation, database_now
from carrara.deployments.tables import EndpointRow
from carrara.persistence.database import EVERYTHING, Database
from carrara.registry.tables import ReleaseRow


def read_route_table(session: Session) -> RouteTable:
    """The table as it stands. The generation is read first: the content is never older than its number."""
    generation = current_generation(session)
    rows = _endpoints(session)
    hashes = _token_hashes(session, {row.project_id: row.project for row in rows})
    facts = [
        EndpointFacts(
            project=row.project,
            endpoint=row.endpoint,
            desired=row.desired,
            candidate=row.candidate,
            rollback_target=row.rollback_target,
            fallback=Fallback.model_validate(row.fallback) if row.fallback else None,
        )
        for row in rows
    ]
    digests = {digest for row in rows for digest in (row.desired, row.candidate, row.rollback_target) if digest}
    return build_route_table(generation, facts, _manifests(session, digests), hashes)


class ExpiryWatch:
    """Makes a new route table when a token has expired: the table holds the hashes of valid tokens only."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: datetime | None = None

    def look(self) -> bool:
        """Whether a token has expired since the last look; at the first look, ever."""
        with self._database.transaction(EVERYTHING) as session:
            now = database_now(session)
            expired = select(TokenRow.id).where(TokenRow.expires_at <= now, TokenRow.revoked_at.is_(None))
            if self._seen is not None:
                expired = expired.where(TokenRow.expires_at > self._seen)
            found = session.scalar(expired.limit(1)) is not None
            if found:
                bump_generation(session)
        self._seen = now
        return found


def _endpoints(session: Session) -> list[Any]:
    held = {name: aliased(ReleaseRow, name=name) for name in ("desired", "candidate", "rollback_target")}
    columns = {
        "desired": EndpointRow.desired_release_id,
        "candidate": EndpointRow.candidate_release_id,
        "rollback_target": EndpointRow.rollback_target_id,
    }
    chosen = select(
        EndpointRow.project_id,
        ProjectRow.name.label("project"),
        EndpointRow.name.label("endpoint"),
        EndpointRow.fallback,
        *(held[name].digest.label(name) for name in columns),
    ).join(ProjectRow, ProjectRow.id == EndpointRow.project_id)
    for name, column in columns.items():
        chosen = chosen.outerjoin(held[name], held[name].id == column)
    return list(session.execute(chosen.order_by(ProjectRow.name, EndpointRow.name)))


def _token_hashes(session: Session, projects: Mapping[UUID, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name in projects.values()}
    rows = session.execute(
        select(MembershipRow.project_id, TokenRow.hash)
        .join(UserRow, UserRow.id == MembershipRow.user_id)
        .join(TokenRow, TokenRow.user_id == UserRow.id)
        .where(
            MembershipRow.project_id.in_(list(projects)),
            UserRow.disabled_at.is_(None),
            TokenRow.revoked_at.is_(None),
            TokenRow.expires_at > func.now(),
        )
        .distinct()
    )
    for project_id, token_hash in rows:
        found[projects[project_id]].append(token_hash)
    return found


def _manifests(session: Session, digests: set[str]) -> dict[str, ReleaseManifest]:
    rows = session.execute(select(ReleaseRow.digest, ReleaseRow.manifest).where(ReleaseRow.digest.in_(digests)))
    return {row.digest: ReleaseManifest.model_validate(row.manifest) for row in rows}
