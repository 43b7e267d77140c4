"""The object stores that the contract suite runs against."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.object_store import ACCESS_KEY, SECRET_KEY, S3Server, free_port

from carrara.storage.factory import open_store
from carrara.storage.ports import ObjectStore


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("nanio"), free_port())
    server.start()
    yield server
    server.kill()


@pytest.fixture
def s3_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture
def s3_store(s3_server: S3Server, s3_credentials: None) -> ObjectStore:
    bucket = f"bucket-{uuid4().hex[:12]}"
    s3_server.make_bucket(bucket)
    return open_store(f"s3://{bucket}/some/prefix", s3_endpoint_url=s3_server.url)


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """Each kind of object store in turn, empty."""
    if request.param == "directory":
        return open_store(str(tmp_path / "objects"), s3_endpoint_url=None)
    found: ObjectStore = request.getfixturevalue("s3_store")
    return found
