"""What the registry asks of MLflow, and of the features above it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from sqlalchemy.orm import Session

from carrara.kernel.ids import ProjectId, ReleaseId


@dataclass(frozen=True)
class TrackedRun:
    """A run. `location` is where its artifacts are: pass it to `upload`, `list_files` and `download`."""

    id: str
    location: str


@dataclass(frozen=True)
class MetricPoint:
    """One value of a metric. The same point logged twice is one point."""

    name: str
    value: float
    step: int
    at: datetime


@dataclass(frozen=True)
class TrackedVersion:
    """A registered version. `source` is as whoever registered it wrote it."""

    model: str
    number: int
    source: str
    run_id: str | None
    created_at: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True)
class TrackedFile:
    """A file below a location; `path` is relative to it, `size` in bytes if it is known."""

    path: str
    size: int | None


class ProjectTracking(Protocol):
    """MLflow as one project sees it. Every method may raise `Unavailable`; a refusal of MLflow's is `Invalid`."""

    def experiment(self, name: str) -> str:
        """The id of the experiment of this name, made if it is not there."""
        ...

    def find_run(self, experiment_id: str, tag: tuple[str, str]) -> TrackedRun | None:
        """The newest run that has this tag."""
        ...

    def create_run(
        self, experiment_id: str, name: str, *, tags: Mapping[str, str], started_at: datetime
    ) -> TrackedRun: ...

    def log(self, run_id: str, *, params: Mapping[str, str], metrics: Sequence[MetricPoint]) -> None:
        """Adds params and metrics; safe to repeat with the same values. Names MLflow cannot keep are made to fit."""
        ...

    def finish_run(self, run_id: str, *, ended_at: datetime) -> None: ...

    def register_model(self, name: str, description: str = "") -> None:
        """Makes the registered model; one that is there stays as it is."""
        ...

    def create_version(
        self, model: str, source: str, *, run_id: str | None, tags: Mapping[str, str], description: str = ""
    ) -> TrackedVersion:
        """A new version with the next number. Not safe to repeat: look for a tag of yours first."""
        ...

    def find_version(self, model: str, tag: tuple[str, str]) -> TrackedVersion | None: ...

    def get_version(self, model: str, number: int) -> TrackedVersion:
        """`NotFound` if MLflow has no such version."""
        ...

    def versions(self) -> Iterator[TrackedVersion]:
        """All versions of the project, the newest first."""
        ...

    def tag_version(self, model: str, number: int, key: str, value: str) -> None: ...

    def set_alias(self, model: str, alias: str, number: int) -> None: ...

    def drop_alias(self, model: str, alias: str) -> None:
        """Removes the alias; one that is not there is no error."""
        ...

    def location_of(self, version: TrackedVersion) -> str:
        """Where the version's files are; `Invalid(unreadable_source)` if that is not in MLflow's own artifacts."""
        ...

    def upload(self, location: str, path: str, file: Path) -> None:
        """Stores a file below a location, over one that is there."""
        ...

    def list_files(self, location: str) -> Sequence[TrackedFile]:
        """All files below a location, sorted by path."""
        ...

    def download(self, location: str, path: str, target: Path, *, max_bytes: int) -> int:
        """Writes a file and gives its size; `TooLarge` as soon as it has more than `max_bytes`."""
        ...


class ModelTracking(Protocol):
    """MLflow, divided by project."""

    def of(self, project_id: ProjectId) -> ProjectTracking:
        """The project's part of MLflow, made at its first use."""
        ...


class ReleaseUse(Protocol):
    """Asked before a version is retired; `deployments` answers, `bootstrap` joins."""

    def __call__(self, session: Session, project_id: ProjectId, release_id: ReleaseId) -> list[str]:
        """What needs this release, as a person would say it (`live at endpoint 'delays'`); empty if nothing does."""
        ...
