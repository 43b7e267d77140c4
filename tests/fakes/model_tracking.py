"""MLflow in memory, for tests of what stands on `ModelTracking`. It passes the same contract as the real one."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from carrara.kernel.errors import Invalid, NotFound, TooLarge, Unavailable
from carrara.kernel.ids import ProjectId
from carrara.registry.mlflow_names import metric_name, param_name, param_value
from carrara.registry.ports import MetricPoint, TrackedFile, TrackedRun, TrackedVersion

_SCHEME = "mlflow-artifacts:/"


@dataclass
class FakeRun:
    """What a run holds."""

    run: TrackedRun
    experiment_id: str
    tags: dict[str, str]
    started_at: datetime
    params: dict[str, str] = field(default_factory=dict)
    metrics: set[MetricPoint] = field(default_factory=set)
    ended_at: datetime | None = None


class FakeTracking:
    """Implements `ModelTracking`. While `away`, everything is `Unavailable`."""

    def __init__(self) -> None:
        self.projects: dict[ProjectId, FakeProject] = {}
        self.away = False
        self.calls: list[str] = []

    def of(self, project_id: ProjectId) -> "FakeProject":
        self.note("of")
        return self.projects.setdefault(project_id, FakeProject(self, f"workspaces/p-{project_id}"))

    def note(self, call: str) -> None:
        if self.away:
            raise Unavailable("MLflow did not answer (fake)")
        self.calls.append(call)


class FakeProject:
    """Implements `ProjectTracking`."""

    def __init__(self, server: FakeTracking, root: str) -> None:
        self._server = server
        self._root = root
        self._lock = threading.Lock()
        self._now = datetime(2026, 1, 1, tzinfo=UTC)
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, FakeRun] = {}
        self.models: dict[str, dict[int, TrackedVersion]] = {}
        self.aliases: dict[tuple[str, str], int] = {}
        self.files: dict[str, bytes] = {}

    def experiment(self, name: str) -> str:
        self._server.note("experiment")
        return self.experiments.setdefault(name, str(len(self.experiments) + 1))

    def find_run(self, experiment_id: str, tag: tuple[str, str]) -> TrackedRun | None:
        self._server.note("find_run")
        found = [
            run for run in self.runs.values() if run.experiment_id == experiment_id and run.tags.get(tag[0]) == tag[1]
        ]
        return max(found, key=lambda run: run.started_at).run if found else None

    def create_run(self, experiment_id: str, name: str, *, tags: Mapping[str, str], started_at: datetime) -> TrackedRun:
        self._server.note("create_run")
        if experiment_id not in self.experiments.values():
            raise NotFound("thing in MLflow", hint=f"no experiment {experiment_id}")
        run_id = uuid4().hex
        run = TrackedRun(run_id, f"{_SCHEME}{self._root}/{experiment_id}/{run_id}/artifacts")
        self.runs[run_id] = FakeRun(run, experiment_id, dict(tags), started_at)
        return run

    def log(self, run_id: str, *, params: Mapping[str, str], metrics: Sequence[MetricPoint]) -> None:
        self._server.note("log")
        run = self._run(run_id)
        for name, value in params.items():
            if run.params.get(param_name(name), param_value(value)) != param_value(value):
                raise Invalid(f"MLflow refused: param {name} has another value already")
            run.params[param_name(name)] = param_value(value)
        run.metrics |= {replace(point, name=metric_name(point.name)) for point in metrics}

    def finish_run(self, run_id: str, *, ended_at: datetime) -> None:
        self._server.note("finish_run")
        self._run(run_id).ended_at = ended_at

    def register_model(self, name: str, description: str = "") -> None:
        self._server.note("register_model")
        self.models.setdefault(name, {})

    def create_version(
        self, model: str, source: str, *, run_id: str | None, tags: Mapping[str, str], description: str = ""
    ) -> TrackedVersion:
        self._server.note("create_version")
        if model not in self.models:
            raise NotFound("thing in MLflow", hint=f"no registered model {model}")
        if source.startswith(_SCHEME) and (run_id is None or not source.startswith(self._run(run_id).run.location)):
            raise Invalid("MLflow refused: the source is not below the artifacts of the run")
        with self._lock:
            self._now += timedelta(seconds=1)
            number = max(self.models[model], default=0) + 1
            version = TrackedVersion(model, number, source, run_id, self._now, dict(tags), description)
            self.models[model][number] = version
        return version

    def find_version(self, model: str, tag: tuple[str, str]) -> TrackedVersion | None:
        self._server.note("find_version")
        versions = self.models.get(model, {}).values()
        return next((version for version in versions if version.tags.get(tag[0]) == tag[1]), None)

    def get_version(self, model: str, number: int) -> TrackedVersion:
        self._server.note("get_version")
        try:
            return self.models[model][number]
        except KeyError as error:
            raise NotFound("thing in MLflow", hint=f"no version {number} of {model}") from error

    def versions(self) -> Iterator[TrackedVersion]:
        self._server.note("versions")
        every = [version for versions in self.models.values() for version in versions.values()]
        yield from sorted(every, key=lambda version: version.created_at, reverse=True)

    def tag_version(self, model: str, number: int, key: str, value: str) -> None:
        version = self.get_version(model, number)
        self.models[model][number] = replace(version, tags={**version.tags, key: value})

    def set_alias(self, model: str, alias: str, number: int) -> None:
        self.get_version(model, number)
        self.aliases[model, alias] = number

    def drop_alias(self, model: str, alias: str) -> None:
        self._server.note("drop_alias")
        self.aliases.pop((model, alias), None)

    def location_of(self, version: TrackedVersion) -> str:
        self._server.note("location_of")
        source = self.get_version(version.model, version.number).source
        if source.startswith("runs:/"):
            run_id, _, path = source.removeprefix("runs:/").partition("/")
            source = f"{self._run(run_id).run.location}/{path}"
        if not source.startswith(_SCHEME):
            raise Invalid(f"the files are at {source!r}, not in MLflow's own store", code="unreadable_source")
        return source

    def upload(self, location: str, path: str, file: Path) -> None:
        self._server.note("upload")
        self.files[f"{self._inside(location)}/{path}"] = file.read_bytes()

    def list_files(self, location: str) -> Sequence[TrackedFile]:
        self._server.note("list_files")
        prefix = self._inside(location) + "/"
        return [
            TrackedFile(name.removeprefix(prefix), len(data))
            for name, data in sorted(self.files.items())
            if name.startswith(prefix)
        ]

    def download(self, location: str, path: str, target: Path, *, max_bytes: int) -> int:
        self._server.note("download")
        data = self.files.get(f"{self._inside(location)}/{path}")
        if data is None:
            raise NotFound("thing in MLflow", hint=path)
        if len(data) > max_bytes:
            raise TooLarge(f"{path} is over the limit of {max_bytes} bytes", limit=max_bytes)
        target.write_bytes(data)
        return len(data)

    def _inside(self, location: str) -> str:
        path = location.removeprefix(_SCHEME).strip("/")
        if not path.startswith(self._root):
            raise Invalid("MLflow refused: the path targets another workspace")
        return path

    def _run(self, run_id: str) -> FakeRun:
        try:
            return self.runs[run_id]
        except KeyError as error:
            raise NotFound("thing in MLflow", hint=f"no run {run_id}") from error
