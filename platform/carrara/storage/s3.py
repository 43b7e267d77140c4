"""An object store in an S3 bucket, Amazon's or another's. Credentials come from boto3's own chain (AWS_* variables).

Relies only on what every S3 has: put, get, head, delete, list v2, multi-part upload. Never on versioning, tags,
conditional writes or trailing checksums: the digests of `blobs.py` are checked instead. A client that is killed in the
middle of a multi-part upload leaves parts that no listing shows: give the bucket a rule that aborts those after a day.
"""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

import boto3
from boto3.exceptions import Boto3Error, S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from carrara.kernel.errors import CarraraError, Conflict, NotFound, TooLarge, Unavailable
from carrara.kernel.ids import uuid7
from carrara.storage.disk import copy_blocks, disk_error, new_file
from carrara.storage.ports import ObjectInfo, check_key, check_prefix

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART_BYTES = 8 << 20
_STREAM_BUFFER_BYTES = 1 << 20
_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
_DENIED = frozenset(
    {"AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
)
_FULL = frozenset({"InsufficientStorage", "XMinioStorageFull", "QuotaExceeded", "507"})
_STORE_CONFIG = Config(
    signature_version="s3v4",
    s3={"addressing_style": "path"},
    connect_timeout=5,
    read_timeout=30,
    retries={"mode": "standard", "total_max_attempts": 4},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
_PROBE_CONFIG = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 1})
_TRANSFER = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=4)
_FAILURES = (BotoCoreError, ClientError, Boto3Error, HTTPError)


class _Body(Protocol):
    def read(self, amt: int | None = None) -> bytes: ...


class S3Store:
    """`ObjectStore` over the objects of `bucket` whose keys begin with `prefix/`."""

    def __init__(self, bucket: str, prefix: str = "", *, endpoint_url: str | None = None) -> None:
        self._bucket = bucket
        self._prefix = check_key(prefix) + "/" if prefix else ""
        self._where = f"s3://{bucket}" + (f" at {endpoint_url}" if endpoint_url else "")
        try:
            session = boto3.session.Session()
            self._client: S3Client = session.client("s3", endpoint_url=endpoint_url, config=_STORE_CONFIG)
            self._probe: S3Client = session.client(
                "s3", endpoint_url=endpoint_url, config=_STORE_CONFIG.merge(_PROBE_CONFIG)
            )
        except (BotoCoreError, ValueError) as error:
            raise self._error(error, "opening the store", None) from error

    def put_file(self, key: str, path: Path) -> None:
        name = self._name(key)
        try:
            size = path.stat().st_size
            self._client.upload_file(str(path), self._bucket, name, Config=_TRANSFER)
        except OSError as error:
            raise disk_error(error, f"reading {path.name} to store it") from error
        except _FAILURES as error:
            raise self._error(error, f"writing object {key}", key, needed_bytes=size) from error

    def put_bytes(self, key: str, data: bytes) -> None:
        name = self._name(key)
        try:
            if len(data) > PART_BYTES:
                self._client.upload_fileobj(io.BytesIO(data), self._bucket, name, Config=_TRANSFER)
            else:
                self._client.put_object(Bucket=self._bucket, Key=name, Body=data)
        except _FAILURES as error:
            raise self._error(error, f"writing object {key}", key, needed_bytes=len(data)) from error

    def get_bytes(self, key: str, max_bytes: int | None = None) -> bytes:
        with self._get(key) as (body, length):
            if max_bytes is not None and length > max_bytes:
                raise TooLarge(
                    f"object {key} has {length} bytes, over the limit of {max_bytes}", size=length, limit=max_bytes
                )
            return _Reader(body, self, key).read()

    def download(self, key: str, path: Path) -> None:
        with self.open_stream(key) as stream:
            try:
                with new_file(path, durable=False) as target:
                    copy_blocks(stream, target)
            except OSError as error:
                raise disk_error(error, f"writing {path.name}") from error

    @contextlib.contextmanager
    def open_stream(self, key: str) -> Iterator[BinaryIO]:
        with self._get(key) as (body, _), io.BufferedReader(_Reader(body, self, key), _STREAM_BUFFER_BYTES) as stream:
            yield cast("BinaryIO", stream)

    def exists(self, key: str) -> bool:
        try:
            self.size(key)
        except NotFound:
            return False
        return True

    def size(self, key: str) -> int:
        name = self._name(key)
        try:
            return self._client.head_object(Bucket=self._bucket, Key=name)["ContentLength"]
        except _FAILURES as error:
            raise self._error(error, f"looking for object {key}", key) from error

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._list(check_prefix(prefix))

    def delete(self, key: str) -> None:
        name = self._name(key)
        try:
            self._client.delete_object(Bucket=self._bucket, Key=name)
        except _FAILURES as error:
            failure = self._error(error, f"deleting object {key}", key)
            if not isinstance(failure, NotFound):
                raise failure from error

    def check(self) -> None:
        name = self._name(f"check/{uuid7()}")
        try:
            # first without a body: a put that is refused unread can leave the connection out of step (seen with nanio)
            self._probe.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
            self._probe.put_object(Bucket=self._bucket, Key=name, Body=b"carrara")
            self._probe.get_object(Bucket=self._bucket, Key=name)["Body"].close()
            self._probe.delete_object(Bucket=self._bucket, Key=name)
        except _FAILURES as error:
            raise self._error(error, "checking that the store is writable", None) from error

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    @contextlib.contextmanager
    def _get(self, key: str) -> Iterator[tuple[_Body, int]]:
        name = self._name(key)
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=name)
        except _FAILURES as error:
            raise self._error(error, f"reading object {key}", key) from error
        with contextlib.closing(answer["Body"]) as body:
            yield cast("_Body", body), answer["ContentLength"]

    def _list(self, prefix: str) -> Iterator[ObjectInfo]:
        try:
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix):
                for entry in page.get("Contents", ()):
                    yield ObjectInfo(entry["Key"].removeprefix(self._prefix), entry["Size"], entry["LastModified"])
        except _FAILURES as error:
            raise self._error(error, f"listing objects under {prefix!r}", None) from error

    def _error(self, error: Exception, doing: str, key: str | None, *, needed_bytes: int | None = None) -> CarraraError:
        """The kind for what boto3 raised. An upload's real cause is the exception's context."""
        if isinstance(error, S3UploadFailedError) and isinstance(error.__context__, ClientError):
            error = error.__context__
        if not isinstance(error, ClientError):
            return Unavailable(f"{doing} in {self._where} failed: {error}", code="store_away")
        facts: Any = error.response.get("Error", {})
        code, said = str(facts.get("Code", "")), facts.get("Message", "")
        if code in _MISSING and key is not None:
            return NotFound("object", key=key)
        if code == "NoSuchBucket" or code in _MISSING:
            return Unavailable(f"{self._where} does not exist; create the bucket", code="no_bucket")
        if code in _DENIED:
            return Unavailable(
                f"{doing}: {self._where} refused us ({code}: {said}). Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
                " and the bucket's policy",
                code="store_denied",
                retry_after_seconds=60,
            )
        if code in _FULL:
            return Unavailable(
                f"{self._where} is full while {doing}; need {needed_bytes} bytes. Free space there, then try again",
                code="disk_full",
                needed_bytes=needed_bytes,
                retry_after_seconds=60,
            )
        if code in ("ParentIsDirectory", "OperationAborted"):
            return Conflict(f"object {key} cannot be stored: one key would be the folder of another", code="key_taken")
        return Unavailable(f"{doing} in {self._where} failed: {code} {said}".rstrip(), code="store_error")


class _Reader(io.RawIOBase):
    """A response body as a raw stream: what goes wrong on the way is `Unavailable`."""

    def __init__(self, body: _Body, store: S3Store, key: str) -> None:
        super().__init__()
        self._body, self._store, self._key = body, store, key

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        try:
            block = self._body.read(len(view))
        except (*_FAILURES, OSError) as error:
            raise self._store._error(error, f"reading object {self._key}", self._key) from error
        view[: len(block)] = block
        return len(block)

    def read(self, size: int = -1) -> bytes:
        try:
            return self._body.read(None if size < 0 else size)
        except (*_FAILURES, OSError) as error:
            raise self._store._error(error, f"reading object {self._key}", self._key) from error
