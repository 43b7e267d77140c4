"""Versions registered through the stock MLflow client become ours: at once through the proxy, or by this sweep."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from carrara.contracts.jobs import JobKind
from carrara.contracts.registry import ValidateSpec
from carrara.jobs.ports import Submit
from carrara.kernel.errors import CarraraError, Unavailable
from carrara.kernel.ids import ProjectId, UserId, VersionId
from carrara.persistence.database import EVERYTHING, Database, Scope
from carrara.registry import service, store
from carrara.registry.domain import AUTHOR_TAG, JOB_TAG, NewVersion, VersionSource
from carrara.registry.ports import ModelTracking, TrackedVersion

_PAGE = 100
_OVERLAP = timedelta(minutes=10)  # MLflow's clock and ours may differ, and a version may be adopted late
_log = logging.getLogger(__name__)


def adopt_version(
    session: Session, project_id: ProjectId, tracked: TrackedVersion, author_id: UserId, *, submit: Submit
) -> VersionId | None:
    """Enters a version that MLflow has and queues its validation; None if the registry has it already.

    `Invalid` if the model's name is no slug.
    """
    version_id = service.register(
        session,
        project_id,
        NewVersion(
            model=tracked.model,
            number=tracked.number,
            source=VersionSource.MLFLOW,
            author_id=author_id,
            description=tracked.description[:2000],
            mlflow_run_id=tracked.run_id,
            mlflow_source=tracked.source[:2000],
            lineage={"mlflow": {"run_id": tracked.run_id, "source": tracked.source[:2000]}},
        ),
    )
    if version_id is not None:
        spec = ValidateSpec(version_id=version_id)
        submit(session, project_id, author_id, JobKind.VALIDATE, spec.model_dump(mode="json"))
    return version_id


@dataclass
class AdoptionSweep:
    """Adopts what the proxy could not: it was killed, or our database was away, between MLflow's commit and ours.

    The first call looks at every version; later ones only at those made since, with ten minutes of overlap.
    """

    database: Database
    tracking: ModelTracking
    submit: Submit
    _seen: dict[ProjectId, datetime] = field(default_factory=dict)
    _refused: set[tuple[ProjectId, str, int]] = field(default_factory=set)

    def __call__(self) -> int:
        """How many versions were adopted. `Unavailable` if MLflow or the database is away."""
        with self.database.transaction(EVERYTHING) as session:
            projects = store.projects(session)
        return sum(self._sweep(project_id) for project_id in projects)

    def _sweep(self, project_id: ProjectId) -> int:
        seen = self._seen.get(project_id)
        newest = seen
        adopted = 0
        for page in _pages(self.tracking.of(project_id).versions(), None if seen is None else seen - _OVERLAP):
            newest = max(newest or page[0].created_at, page[0].created_at)
            adopted += sum(self._adopt(project_id, version) for version in self._unknown(project_id, page))
        if newest is not None:
            self._seen[project_id] = newest
        return adopted

    def _unknown(self, project_id: ProjectId, page: Sequence[TrackedVersion]) -> list[TrackedVersion]:
        candidates = [version for version in page if JOB_TAG not in version.tags]
        with self.database.transaction(Scope(project_id)) as session:
            known = {
                (model, number)
                for model in {version.model for version in candidates}
                for number in store.known_numbers(
                    session, project_id, model, {version.number for version in candidates if version.model == model}
                )
            }
        return [version for version in candidates if (version.model, version.number) not in known]

    def _adopt(self, project_id: ProjectId, version: TrackedVersion) -> bool:
        author_id = _author(version)
        try:
            if author_id is None:
                raise CarraraError("it was not registered through Carrara's proxy, so it has no known author")
            with self.database.transaction(Scope(project_id, author_id)) as session:
                return adopt_version(session, project_id, version, author_id, submit=self.submit) is not None
        except Unavailable:
            raise
        except CarraraError as error:
            name = (project_id, version.model, version.number)
            if name not in self._refused:
                _log.warning("%s version %d in MLflow is not adopted: %s", version.model, version.number, error)
                self._refused.add(name)
            return False


def _pages(versions: Iterator[TrackedVersion], until: datetime | None) -> Iterator[list[TrackedVersion]]:
    """Versions in groups, the newest first, down to those made before `until`."""
    page: list[TrackedVersion] = []
    for version in versions:
        if until is not None and version.created_at < until:
            break
        page.append(version)
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page


def _author(version: TrackedVersion) -> UserId | None:
    try:
        return UserId(UUID(version.tags[AUTHOR_TAG]))
    except (KeyError, ValueError):
        return None
