"""Listing and searching 10,000 versions: our API beside MLflow's own REST, in one run on one PostgreSQL.

`python -m benchmarks.registry_listing [--requests 100] [--versions 10000]`, from the top folder. Both servers are real
processes on loopback, asked in turn over connections that stay open.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from sqlalchemy import create_engine, text
from tests.support.mlflow_server import SECRET
from tests.support.object_store import free_port
from tests.support.people import make_actor, make_project, make_token
from tests.support.registry_rows import add_model, add_versions
from tests.support.waiting import eventually

import carrara.bootstrap.schema  # noqa: F401  # every table, so that foreign keys between features resolve
from carrara.embedded.postgres import EmbeddedPostgres
from carrara.kernel.ids import ProjectId, uuid7
from carrara.persistence.database import Database, Scope
from carrara.persistence.migrations import upgrade
from carrara.registry.mlflow_http import WORKSPACE_HEADER, MlflowHttp
from carrara.registry.mlflow_rest import MlflowTracking, workspace_of

_REJECTED_EVERY = 50
_WARM_UP = 3
_FILL = (
    "INSERT INTO model_versions (workspace, name, version, creation_time, last_updated_time, user_id, current_stage,"
    " source, run_id, status) SELECT :workspace, 'delays', n, 1000 * n, 1000 * n, 'ada', 'None', 'runs:/x/' || n,"
    " md5(n::text), 'READY' FROM generate_series(1, :count) n",
    "INSERT INTO model_version_tags (workspace, name, version, key, value) SELECT :workspace, 'delays', n, 'state',"
    " CASE WHEN n % :every = 0 THEN 'rejected' ELSE 'evaluated' END FROM generate_series(1, :count) n",
)

Ask = Callable[[], httpx.Response]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--versions", type=int, default=10_000)
    chosen = parser.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        home.chmod(0o711)
        postgres = stack.enter_context(EmbeddedPostgres(home / "postgres"))
        ours = stack.enter_context(_our_api(postgres.url, home, chosen.versions))
        theirs = stack.enter_context(_mlflow(postgres.create_database("benchmark_mlflow"), home, chosen.versions))
        for name, one, other in _pairs(ours, theirs, chosen.versions):
            _compare(name, one, other, chosen.requests)
        _compare("all versions", lambda: _all_of_ours(ours), lambda: _all_of_mlflow(theirs), chosen.requests // 10)


def _pairs(ours: httpx.Client, theirs: httpx.Client, versions: int) -> Iterator[tuple[str, Ask, Ask]]:
    """The same question to both: 100 versions each."""
    newest_first = {"max_results": 100}  # MLflow's own order: by the time of the last change
    listing, search = "models/delays/versions", "/api/2.0/mlflow/model-versions/search"
    by_name = "name = 'delays'"
    rejected = f"{by_name} AND tag.state = 'rejected'"
    yield (
        "the newest 100 versions",
        lambda: ours.get(listing, params={"limit": 100}),
        lambda: theirs.get(search, params={"filter": by_name, **newest_first}),
    )
    yield (
        "the newest 100 rejected ones",
        lambda: ours.get(listing, params={"limit": 100, "state": "rejected"}),
        lambda: theirs.get(search, params={"filter": rejected, **newest_first}),
    )
    yield (
        "100 from all models with 'lay' in their name",
        lambda: ours.get("versions", params={"limit": 100, "search": "lay"}),
        lambda: theirs.get(search, params={"filter": "name LIKE '%lay%'", **newest_first}),
    )
    middle = versions // 2
    yield (
        "one version (all of it)",
        lambda: ours.get(f"{listing}/{middle}"),
        lambda: theirs.get("/api/2.0/mlflow/model-versions/get", params={"name": "delays", "version": str(middle)}),
    )


def _all_of_ours(client: httpx.Client) -> httpx.Response:
    after: str | None = None
    while True:
        answer = client.get("models/delays/versions", params={"limit": 500, **({"after": after} if after else {})})
        after = answer.raise_for_status().json()["next"]
        if after is None:
            return answer


def _all_of_mlflow(client: httpx.Client) -> httpx.Response:
    query = {"filter": "name = 'delays'", "max_results": 100_000}
    answer = client.get("/api/2.0/mlflow/model-versions/search", params=query)
    assert len(answer.raise_for_status().json()["model_versions"]) > _REJECTED_EVERY
    return answer


def _compare(name: str, one: Ask, other: Ask, requests: int) -> None:
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(_WARM_UP + requests):
        for ask, times in ((one, ours), (other, theirs)):
            started = time.perf_counter()
            ask().raise_for_status()
            if number >= _WARM_UP:
                times.append((time.perf_counter() - started) * 1000)
    print(name)
    for who, times in (("carrara", ours), ("mlflow", theirs)):
        print(f"  {who:8} median {statistics.median(times):7.1f} ms   p95 {_p95(times):7.1f} ms")
    middle, tail = statistics.median(theirs) / statistics.median(ours), _p95(theirs) / _p95(ours)
    print(f"  ratio    median {middle:7.1f}      p95 {tail:7.1f}")


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


@contextmanager
def _our_api(url: str, home: Path, versions: int) -> Iterator[httpx.Client]:
    upgrade(url)
    database = Database(url)
    author = make_actor(database, "ada")
    project = make_project(database, author, "quarry")
    with database.transaction(Scope(project.id, author.id)) as session:
        model_id = add_model(session, project, author, "delays")
        for start in range(1, versions + 1, _REJECTED_EVERY):
            add_versions(session, project, author, model_id, range(start, start + _REJECTED_EVERY - 1))
            add_versions(
                session,
                project,
                author,
                model_id,
                range(start + _REJECTED_EVERY - 1, start + _REJECTED_EVERY),
                state="rejected",
            )
    _analyze(url)
    port = free_port()
    environment = {
        "CARRARA_DATABASE_URL": url,
        "CARRARA_OBJECT_STORE": str(home / "store"),
        "CARRARA_PLATFORM_PORT": str(port),
        "CARRARA_DATA_DIR": str(home / "data"),
        "CARRARA_LOG_LEVEL": "WARNING",
    }
    headers = {"Authorization": f"Bearer {make_token(database, author)}"}
    database.close()
    command = [sys.executable, "-m", "carrara.cli.main", "platform"]
    root = f"http://127.0.0.1:{port}"
    with (
        _process(command, environment, f"{root}/healthz", {}),
        httpx.Client(base_url=f"{root}/api/v1/projects/quarry", headers=headers, timeout=60) as client,
    ):
        yield client


@contextmanager
def _mlflow(url: str, home: Path, versions: int) -> Iterator[httpx.Client]:
    port = free_port()
    environment = {
        "CARRARA_MLFLOW_PORT": str(port),
        "CARRARA_MLFLOW_SECRET": SECRET,
        "CARRARA_MLFLOW_DATABASE_URL": url,
        "CARRARA_MLFLOW_ARTIFACTS": str(home / "artifacts"),
        "CARRARA_LOG_LEVEL": "WARNING",
    }
    root, secret = f"http://127.0.0.1:{port}", {"x-carrara-mlflow-secret": SECRET}
    with _process([sys.executable, "-m", "carrara.embedded.mlflow_app"], environment, f"{root}/health", secret):
        http, project_id = MlflowHttp(root, SECRET), ProjectId(uuid7())
        MlflowTracking(http).of(project_id).register_model("delays")
        http.close()
        engine = create_engine(url)
        with engine.begin() as connection:
            for statement in _FILL:
                values = {"workspace": workspace_of(project_id), "count": versions, "every": _REJECTED_EVERY}
                wanted = {name: value for name, value in values.items() if f":{name}" in statement}
                connection.execute(text(statement), wanted)
        engine.dispose()
        _analyze(url)
        headers = {**secret, WORKSPACE_HEADER: workspace_of(project_id)}
        with httpx.Client(base_url=root, headers=headers, timeout=60) as client:
            yield client


@contextmanager
def _process(command: list[str], environment: dict[str, str], probe: str, headers: dict[str, str]) -> Iterator[None]:
    child = subprocess.Popen(command, env={**os.environ, **environment})
    try:
        eventually(lambda: _answers(probe, headers), within_seconds=120, what=f"{probe} answers")
        yield
    finally:
        child.terminate()
        child.wait()


def _answers(probe: str, headers: dict[str, str]) -> bool:
    try:
        return httpx.get(probe, headers=headers).is_success
    except httpx.TransportError:
        return False


def _analyze(url: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()


if __name__ == "__main__":
    main()
