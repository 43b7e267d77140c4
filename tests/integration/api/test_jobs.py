"""Jobs and code bundles over HTTP: what clients see."""

import gzip
import io
import tarfile
import threading
import time
from pathlib import Path
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from tests.support.jobs import PlayHandler
from tests.support.people import make_actor, make_project, make_token

from carrara.access.domain import Actor, Project
from carrara.bootstrap.platform import Services
from carrara.contracts.jobs import JobKind, JobView
from carrara.jobs import attempts, bundles, leases
from carrara.jobs.ports import ClaimedJob
from carrara.kernel.ids import uuid7
from carrara.persistence.database import EVERYTHING, Database
from carrara.sdk.bundles import bundle_directory

Headers = dict[str, str]
JOBS = "/api/v1/projects/quarry/jobs"
BUNDLES = "/api/v1/projects/quarry/code-bundles"
BODY = {"kind": "train", "spec": {"do": "answer"}}


@pytest.fixture
def ada(database: Database) -> Actor:
    return make_actor(database, "ada")


@pytest.fixture
def project(database: Database, ada: Actor) -> Project:
    return make_project(database, ada, "quarry")


@pytest.fixture
def as_ada(database: Database, ada: Actor, project: Project) -> Headers:
    return {"Authorization": f"Bearer {make_token(database, ada)}"}


@pytest.fixture
def services(services: Services) -> Services:
    handlers = services.jobs.handlers
    assert isinstance(handlers, dict)
    handlers[JobKind.TRAIN] = PlayHandler()
    return services


def claim(services: Services) -> ClaimedJob:
    with services.database.transaction(EVERYTHING) as session:
        job = attempts.claim(session, services.jobs.handlers, worker="w", lease_seconds=30)
    assert job is not None
    return job


def count_jobs(services: Services) -> int:
    with services.database.transaction(EVERYTHING) as session:
        return int(session.connection().exec_driver_sql("SELECT count(*) FROM jobs").scalar_one())


def test_a_job_is_submitted_looked_at_listed_and_cancelled(client: TestClient, as_ada: Headers) -> None:
    made = client.post(JOBS, headers=as_ada, json=BODY)
    assert made.status_code == 201, made.text
    job = JobView.model_validate(made.json())
    assert (job.project, job.submitted_by, job.state, job.attempt) == ("quarry", "ada", "queued", 0)
    assert client.get(f"{JOBS}/{job.id}", headers=as_ada).json() == made.json()
    assert client.get(JOBS, headers=as_ada, params={"state": "queued"}).json()["items"] == [made.json()]
    assert client.get(JOBS, headers=as_ada, params={"state": "failed"}).json() == {"items": [], "next": None}
    first = client.post(f"{JOBS}/{job.id}/cancel", headers=as_ada)
    second = client.post(f"{JOBS}/{job.id}/cancel", headers=as_ada)
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert first.json()["state"] == "cancelled"
    again = client.post(f"{JOBS}/{job.id}/retry", headers=as_ada)
    assert again.status_code == 201
    assert again.json()["parent_job_id"] == str(job.id)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"kind": "train", "spec": {"do": "dance"}}, "spec.do"),
        ({"kind": "juggle", "spec": {}}, "body.kind"),
        ({"kind": "train", "spec": {}, "attempts": 3}, "body.attempts"),
        ({"kind": "train", "spec": {}, "max_attempts": 0}, "body.max_attempts"),
        ({"kind": "train"}, "body.spec"),
    ],
)
def test_a_bad_request_names_its_fault_and_queues_nothing(
    client: TestClient, services: Services, as_ada: Headers, body: dict[str, object], where: str
) -> None:
    answer = client.post(JOBS, headers=as_ada, json=body)
    assert answer.status_code == 422
    assert where in [issue["where"] for issue in answer.json()["issues"]]
    assert count_jobs(services) == 0


def test_a_job_that_is_not_there_is_404_and_a_listing_has_bounds(client: TestClient, as_ada: Headers) -> None:
    for method, path in (("GET", ""), ("GET", "/logs"), ("POST", "/cancel"), ("POST", "/retry")):
        assert client.request(method, f"{JOBS}/{uuid7()}{path}", headers=as_ada).status_code == 404
    for params in ({"limit": 0}, {"limit": 501}, {"after": "x"}, {"state": "lost"}):
        assert client.get(JOBS, headers=as_ada, params=params).status_code == 422


def test_a_log_is_followed_by_long_polls(client: TestClient, services: Services, as_ada: Headers) -> None:
    job_id = client.post(JOBS, headers=as_ada, json=BODY).json()["id"]
    job = claim(services)

    def write() -> None:
        with services.database.transaction(EVERYTHING) as session:
            leases.append_log(session, job, uuid7(), 0, "hello")

    later = threading.Timer(0.5, write)
    later.start()
    began = time.monotonic()
    page = client.get(f"{JOBS}/{job_id}/logs", headers=as_ada, params={"wait": 20}).json()
    later.join()
    assert [chunk["text"] for chunk in page["items"]] == ["hello"]
    assert time.monotonic() - began < 10
    assert (page["next"], page["state"], page["is_complete"]) == ("1.0", "running", False)
    empty = client.get(f"{JOBS}/{job_id}/logs", headers=as_ada, params={"after": "1.0"}).json()
    assert empty["items"] == []
    assert client.get(f"{JOBS}/{job_id}/logs", headers=as_ada, params={"after": "x"}).status_code == 422


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def odd_archive(entry: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        packed.addfile(entry, io.BytesIO(b"x" * entry.size) if entry.isreg() else None)
    return buffer.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 1) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = size if kind == tarfile.REGTYPE else 0
    return info


def test_code_is_pushed_once_and_comes_back_as_it_was(
    client: TestClient, services: Services, as_ada: Headers, tmp_path: Path
) -> None:
    source = tmp_path / "code"
    (source / "package").mkdir(parents=True)
    (source / "train.py").write_text("print('hi')\n")
    (source / "package" / "deep.py").write_text("x = 1\n")
    packed = bundle_directory(source).archive
    dirty = client.post(
        BUNDLES, headers=as_ada, content=packed, params={"git_commit": "a" * 40, "git_is_dirty": "true"}
    )
    assert dirty.status_code == 201, dirty.text
    clean = client.post(
        BUNDLES, headers=as_ada, content=packed, params={"git_commit": "b" * 40, "git_is_dirty": "false"}
    )
    later = client.post(
        BUNDLES, headers=as_ada, content=packed, params={"git_commit": "c" * 40, "git_is_dirty": "true"}
    )
    assert dirty.json()["digest"] == clean.json()["digest"]
    assert (clean.json()["git_commit"], clean.json()["git_is_dirty"]) == ("b" * 40, False)
    assert later.json() == clean.json()
    found = client.get(f"{BUNDLES}/{clean.json()['digest']}", headers=as_ada)
    assert found.json() == clean.json()
    assert found.json()["created_by"] == "ada"
    assert [file["path"] for file in found.json()["files"]] == ["package/deep.py", "train.py"]
    bundles.materialise_bundle(services.blobs, bundles.CodeBundleView.model_validate(found.json()), tmp_path / "out")
    assert (tmp_path / "out" / "package" / "deep.py").read_text() == "x = 1\n"
    assert client.get(f"{BUNDLES}/sha256:{'0' * 64}", headers=as_ada).status_code == 404


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not gzip at all",
        gzip.compress(b"not tar"),
        archive({}),
        archive({"train.py": b"x" * 5000})[:-100],
        archive({"../train.py": b""}),
        archive({"/etc/train.py": b""}),
        archive({"a": b"", "a/b": b""}),
        archive({"a/b": b"", "a": b""}),
        archive({"a\nb": b""}),
        odd_archive(entry("link", tarfile.SYMTYPE, "/etc/passwd")),
        odd_archive(entry("hard", tarfile.LNKTYPE, "train.py")),
        odd_archive(entry("device", tarfile.CHRTYPE)),
        odd_archive(entry("pipe", tarfile.FIFOTYPE)),
    ],
)
def test_an_archive_that_is_no_plain_code_is_refused(client: TestClient, as_ada: Headers, content: bytes) -> None:
    answer = client.post(BUNDLES, headers=as_ada, content=content)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] in {"bad_bundle", "bad_tree"}


def test_the_same_file_twice_in_an_archive_is_refused(client: TestClient, as_ada: Headers) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for _ in range(2):
            packed.addfile(entry("train.py"), io.BytesIO(b"x"))
    assert client.post(BUNDLES, headers=as_ada, content=buffer.getvalue()).status_code == 422


def test_a_small_archive_that_unpacks_to_much_is_refused_before_it_fills_the_disk(
    client: TestClient, as_ada: Headers
) -> None:
    bomb = archive({"big.py": bytes(bundles.MAX_BYTES + 1)})
    assert len(bomb) < 1 << 20
    answer = client.post(BUNDLES, headers=as_ada, content=bomb)
    assert answer.status_code == 413
    long_name = odd_archive(entry("x" * (100 << 20)))
    assert client.post(BUNDLES, headers=as_ada, content=long_name).status_code == 413


def test_who_may_not_submit_may_not_push_code_either(
    client: TestClient, database: Database, as_ada: Headers, project: Project
) -> None:
    stranger = {"Authorization": f"Bearer {make_token(database, make_actor(database, 'eve'))}"}
    assert client.post(BUNDLES, headers=stranger, content=archive({"a": b""})).status_code == 404
    assert client.post(JOBS, headers=stranger, json=BODY).status_code == 404
    assert client.get(f"{JOBS}/{UUID(int=0)}", headers=stranger).status_code == 404
