"""`ModelTracking` over MLflow's REST API. MLflow itself is never imported here: it takes 170 MB and 4 s."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from carrara.kernel.errors import Conflict, Invalid, NotFound, Unavailable
from carrara.kernel.ids import ProjectId
from carrara.registry.mlflow_http import API, ARTIFACTS, MlflowHttp, error_code
from carrara.registry.mlflow_names import metric_name, metric_value, milliseconds, param_name, param_value
from carrara.registry.ports import MetricPoint, ProjectTracking, TrackedFile, TrackedRun, TrackedVersion

T = TypeVar("T")

_SCHEME = "mlflow-artifacts:/"
_PAGE = 200
_METRICS_A_CALL = 900  # MLflow takes 1000 entities a call, of which at most 100 params
_PARAMS_A_CALL = 90
_WORKSPACES = "/api/3.0/mlflow/workspaces"


def workspace_of(project_id: ProjectId) -> str:
    """The MLflow workspace of a project; see docs/adr/0004-mlflow-projects.md."""
    return f"p-{project_id}"


class MlflowTracking:
    """Implements `ModelTracking`. Safe to share between threads."""

    def __init__(self, http: MlflowHttp) -> None:
        self._http = http
        self._known: set[ProjectId] = set()
        self._lock = threading.Lock()

    def of(self, project_id: ProjectId) -> ProjectTracking:
        workspace = workspace_of(project_id)
        with self._lock:
            if project_id not in self._known:
                self._make(workspace)
                self._known.add(project_id)
        return MlflowProject(self._http, workspace)

    def _make(self, workspace: str) -> None:
        try:
            self._http.post(None, _WORKSPACES, {"name": workspace})
        except Conflict:
            return  # made before: by an earlier start, or by another process just now
        except Invalid as error:
            if error_code(error) != "FEATURE_DISABLED":
                raise
            raise Unavailable(
                "this MLflow server has no workspaces, which divide projects; start it with --enable-workspaces"
            ) from error


class MlflowProject:
    """Implements `ProjectTracking`: every call carries the project's workspace."""

    def __init__(self, http: MlflowHttp, workspace: str) -> None:
        self._http = http
        self._workspace = workspace

    def experiment(self, name: str) -> str:
        try:
            return self._experiment_id(name)
        except NotFound:
            pass
        try:
            return str(self._post("experiments/create", {"name": name})["experiment_id"])
        except Conflict:
            return self._experiment_id(name)

    def find_run(self, experiment_id: str, tag: tuple[str, str]) -> TrackedRun | None:
        found = self._post(
            "runs/search",
            {
                "experiment_ids": [experiment_id],
                "filter": f"tags.`{_plain(tag[0])}` = '{_plain(tag[1])}'",
                "order_by": ["attributes.start_time DESC"],
                "max_results": 1,
            },
        )
        runs = found.get("runs", [])
        return _run(runs[0]) if runs else None

    def create_run(self, experiment_id: str, name: str, *, tags: Mapping[str, str], started_at: datetime) -> TrackedRun:
        answer = self._post(
            "runs/create",
            {
                "experiment_id": experiment_id,
                "run_name": name,
                "start_time": milliseconds(started_at),
                "tags": _tags(tags),
            },
        )
        return _run(answer["run"])

    def log(self, run_id: str, *, params: Mapping[str, str], metrics: Sequence[MetricPoint]) -> None:
        texts: list[dict[str, Any]] = [
            {"key": param_name(name), "value": param_value(value)} for name, value in params.items()
        ]
        points: list[dict[str, Any]] = [
            {
                "key": metric_name(point.name),
                "value": metric_value(point.value),
                "step": point.step,
                "timestamp": milliseconds(point.at),
            }
            for point in metrics
        ]
        for batch in _batches(texts, _PARAMS_A_CALL):
            self._post("runs/log-batch", {"run_id": run_id, "params": batch})
        for batch in _batches(points, _METRICS_A_CALL):
            self._post("runs/log-batch", {"run_id": run_id, "metrics": batch})

    def finish_run(self, run_id: str, *, ended_at: datetime) -> None:
        self._post("runs/update", {"run_id": run_id, "status": "FINISHED", "end_time": milliseconds(ended_at)})

    def register_model(self, name: str, description: str = "") -> None:
        try:
            self._get("registered-models/get", name=name)
        except NotFound:
            try:
                self._post("registered-models/create", {"name": name, "description": description})
            except Conflict:
                return  # registered by someone else just now

    def create_version(
        self, model: str, source: str, *, run_id: str | None, tags: Mapping[str, str], description: str = ""
    ) -> TrackedVersion:
        body = {"name": model, "source": source, "tags": _tags(tags), "description": description}
        if run_id is not None:
            body["run_id"] = run_id
        return _version(self._post("model-versions/create", body)["model_version"])

    def find_version(self, model: str, tag: tuple[str, str]) -> TrackedVersion | None:
        where = f"name = '{_plain(model)}' AND tag.`{_plain(tag[0])}` = '{_plain(tag[1])}'"
        found = self._get("model-versions/search", filter=where, max_results=1).get("model_versions", [])
        return _version(found[0]) if found else None

    def get_version(self, model: str, number: int) -> TrackedVersion:
        return _version(self._get("model-versions/get", name=model, version=str(number))["model_version"])

    def versions(self) -> Iterator[TrackedVersion]:
        token: str | None = None
        while True:
            page = self._get(
                "model-versions/search",
                order_by="creation_timestamp DESC",
                max_results=_PAGE,
                page_token=token,
            )
            yield from map(_version, page.get("model_versions", []))
            token = page.get("next_page_token")
            if not token:
                return

    def tag_version(self, model: str, number: int, key: str, value: str) -> None:
        self._post("model-versions/set-tag", {"name": model, "version": str(number), "key": key, "value": value})

    def set_alias(self, model: str, alias: str, number: int) -> None:
        self._post("registered-models/alias", {"name": model, "alias": alias, "version": str(number)})

    def drop_alias(self, model: str, alias: str) -> None:
        try:
            self._http.delete(self._workspace, f"{API}/registered-models/alias", {"name": model, "alias": alias})
        except NotFound:
            return

    def location_of(self, version: TrackedVersion) -> str:
        answer = self._get("model-versions/get-download-uri", name=version.model, version=str(version.number))
        uri = str(answer.get("artifact_uri", ""))
        if uri.startswith("runs:/"):
            run_id, _, path = uri.removeprefix("runs:/").partition("/")
            uri = f"{_run(self._get('runs/get', run_id=run_id)['run']).location}/{path}"
        if not uri.startswith(_SCHEME):
            raise Invalid(
                f"the files of {version.model} version {version.number} are at {uri[:200]!r}, not in MLflow's own"
                " artifact store, so they cannot be copied; log the model with mlflow and register that",
                code="unreadable_source",
            )
        return uri

    def upload(self, location: str, path: str, file: Path) -> None:
        self._http.put_file(self._workspace, _artifact(location, path), file)

    def list_files(self, location: str) -> Sequence[TrackedFile]:
        return sorted(self._walk(location, ""), key=lambda file: file.path)

    def download(self, location: str, path: str, target: Path, *, max_bytes: int) -> int:
        return self._http.get_file(self._workspace, _artifact(location, path), target, max_bytes=max_bytes)

    def _walk(self, location: str, folder: str) -> Iterator[TrackedFile]:
        path = f"{location.removeprefix(_SCHEME).strip('/')}/{folder}".rstrip("/")
        for entry in self._http.get(self._workspace, ARTIFACTS, path=path).get("files", []):
            name = f"{folder}/{_last(entry['path'])}".lstrip("/")
            if entry.get("is_dir"):
                yield from self._walk(location, name)
            else:
                size = entry.get("file_size")
                yield TrackedFile(name, None if size is None else int(size))

    def _experiment_id(self, name: str) -> str:
        found = self._get("experiments/get-by-name", experiment_name=name)["experiment"]
        if found.get("lifecycle_stage") != "active":
            raise Conflict(f"the MLflow experiment {name!r} was deleted; an operator can restore it", code="deleted")
        return str(found["experiment_id"])

    def _get(self, route: str, **query: Any) -> dict[str, Any]:
        return self._http.get(self._workspace, f"{API}/{route}", **query)

    def _post(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._http.post(self._workspace, f"{API}/{route}", body)


def _run(answer: Mapping[str, Any]) -> TrackedRun:
    info = answer["info"]
    return TrackedRun(str(info["run_id"]), str(info["artifact_uri"]))


def _version(answer: Mapping[str, Any]) -> TrackedVersion:
    return TrackedVersion(
        model=str(answer["name"]),
        number=int(answer["version"]),
        source=str(answer.get("source", "")),
        run_id=answer.get("run_id") or None,
        created_at=datetime.fromtimestamp(int(answer["creation_timestamp"]) / 1000, UTC),
        tags={tag["key"]: str(tag.get("value", "")) for tag in answer.get("tags", [])},
        description=str(answer.get("description", "")),
    )


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _artifact(location: str, path: str) -> str:
    whole = f"{location.removeprefix(_SCHEME).strip('/')}/{path}"
    return f"{ARTIFACTS}/{quote(whole, safe='/')}"


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _plain(text: str) -> str:
    """Text for MLflow's filter language, which has no escape for quotes."""
    if "'" in text or "`" in text:
        raise Invalid(f"{text!r} cannot be searched for in MLflow: it holds a quote")
    return text
