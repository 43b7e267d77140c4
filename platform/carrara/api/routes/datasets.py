"""Datasets: push and read snapshots, choose holdouts."""

import json
import shutil
import tempfile
from functools import partial
from pathlib import Path as FilePath
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import FileResponse
from sqlalchemy.orm import Session
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from carrara.access.policy import Permission
from carrara.access.store import user_names
from carrara.api.call import Call, allowed
from carrara.api.heavy import run_heavy
from carrara.api.uploads import Upload, received
from carrara.contracts import datasets as wire
from carrara.contracts.documents import parse_document
from carrara.contracts.wire import Page
from carrara.datasets import service
from carrara.datasets.domain import Dataset, PreparedSnapshot, PreparedSplit, Snapshot, Split
from carrara.datasets.preparation import fetch_snapshot, prepare_snapshot, prepare_split
from carrara.kernel.digests import digest_json
from carrara.kernel.errors import Invalid
from carrara.kernel.ids import SplitId
from carrara.kernel.names import check_slug

router = APIRouter(tags=["datasets"])

_DATASET = "/projects/{project}/datasets/{dataset}"
_SNAPSHOT = _DATASET + "/snapshots/{snapshot}"
_BODY = {"schema": {"type": "string", "format": "binary"}}

Reader = Annotated[Call, Depends(allowed(Permission.READ))]
Splitter = Annotated[Call, Depends(allowed(Permission.PUSH_DATA))]
Pusher = Annotated[Call, Depends(allowed(Permission.PUSH_DATA, streams_body=True))]
Limit = Annotated[int, Query(ge=1, le=500)]
DatasetName = Annotated[str, Path(description="the dataset's name", examples=["flights-2013"])]
SnapshotName = Annotated[
    str,
    Path(description="a number, a digest or `latest`", pattern=r"^(latest|[1-9][0-9]{0,8}|sha256:[0-9a-f]{64})$"),
]


@router.get("/projects/{project}/datasets")
def list_datasets(call: Reader, limit: Limit = 100, after: UUID | None = None) -> Page[wire.DatasetView]:
    """The project's datasets, newest first."""

    def action(session: Session) -> Page[wire.DatasetView]:
        found = service.list_datasets(session, call.project.id, after=after, limit=limit)
        names = user_names(session, [each.created_by for each in found])
        return Page(items=[_dataset(each, names) for each in found], next=_next(found, limit))

    return call.read(action)


@router.get(_DATASET)
def get_dataset(call: Reader, dataset: DatasetName) -> wire.DatasetView:
    """One dataset."""

    def action(session: Session) -> wire.DatasetView:
        found = service.get_dataset(session, call.project.id, dataset)
        return _dataset(found, user_names(session, [found.created_by]))

    return call.read(action)


@router.post(
    _DATASET + "/snapshots",
    status_code=201,
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "the bytes of a CSV file (UTF-8 with a header; also gzip or zstd) or of a Parquet file",
            "content": dict.fromkeys(("text/csv", "application/vnd.apache.parquet", "application/gzip"), _BODY),
        }
    },
)
async def push_snapshot(
    request: Request,
    call: Pusher,
    dataset: DatasetName,
    options: Annotated[
        str | None, Query(description="`IngestOptions` as JSON", examples=['{"types": {"tailnum": "text"}}'])
    ] = None,
    description: Annotated[str, Query(max_length=2000, description="of a dataset that is made by this push")] = "",
) -> wire.PushedSnapshot:
    """Push a table. The same table twice gives the same snapshot; a faulty file is refused with line and column.

    The dataset is made by its first push. Nothing is registered unless the whole table arrived and was stored.
    """
    check_slug(dataset, "dataset")
    wanted = _options(options)
    settings = call.services.settings
    folder = settings.data_dir.absolute() / "uploads"
    async with received(request, folder, max_bytes=settings.max_upload_bytes) as upload:
        prepare = partial(
            prepare_snapshot, upload.path, blobs=call.services.blobs, scratch=upload.folder, options=wanted
        )
        prepared = await run_heavy(request, prepare)
        return await run_in_threadpool(_register, call, dataset, prepared, upload, description)


@router.get(_DATASET + "/snapshots")
def list_snapshots(
    call: Reader, dataset: DatasetName, limit: Limit = 100, after: UUID | None = None
) -> Page[wire.SnapshotView]:
    """The dataset's snapshots, newest first."""

    def action(session: Session) -> Page[wire.SnapshotView]:
        found = service.list_snapshots(session, call.project.id, dataset, after=after, limit=limit)
        names = user_names(session, [each.created_by for each in found])
        return Page(items=[_snapshot(each, names) for each in found], next=_next(found, limit))

    return call.read(action)


@router.get(_SNAPSHOT)
def get_snapshot(call: Reader, dataset: DatasetName, snapshot: SnapshotName) -> wire.SnapshotView:
    """One snapshot with its schema."""

    def action(session: Session) -> wire.SnapshotView:
        found = _find(session, call, dataset, snapshot)
        return _snapshot(found, user_names(session, [found.created_by]))

    return call.read(action)


@router.get(_SNAPSHOT + "/profile")
def get_profile(call: Reader, dataset: DatasetName, snapshot: SnapshotName) -> wire.TableProfile:
    """What the columns of a snapshot hold."""
    return call.read(
        lambda session: service.get_profile(session, call.project.id, _find(session, call, dataset, snapshot).id)
    )


@router.get(_SNAPSHOT + "/data", response_class=FileResponse)
def download_snapshot(call: Reader, dataset: DatasetName, snapshot: SnapshotName) -> FileResponse:
    """The rows of a snapshot as one Parquet file, verified against its digest."""
    found = call.read(lambda session: _find(session, call, dataset, snapshot))
    folder = FilePath(tempfile.mkdtemp(prefix="carrara-download-"))
    try:
        [path] = fetch_snapshot(call.services.blobs, found, folder / "files")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return FileResponse(
        path,
        media_type="application/vnd.apache.parquet",
        filename=f"{found.dataset}-{found.number}.parquet",
        background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
    )


@router.post(_SNAPSHOT + "/splits", status_code=201)
async def create_split(
    request: Request, call: Splitter, dataset: DatasetName, snapshot: SnapshotName, body: wire.CreateSplit
) -> wire.SplitView:
    """Choose the holdout of a snapshot. The same spec twice is the same split; rows that both parts have are named."""

    def look(session: Session) -> tuple[Snapshot, Split | None]:
        found = _find(session, call, dataset, snapshot)
        return found, service.find_split(session, call.project.id, found, body.spec)

    source, known = await run_in_threadpool(call.read, look)
    if known is not None:
        return await run_in_threadpool(
            call.write, 200, lambda session: _split(known, source, user_names(session, [known.created_by]))
        )

    def prepare() -> PreparedSplit:
        with tempfile.TemporaryDirectory(prefix="carrara-split-") as folder:
            return prepare_split(source, body.spec, blobs=call.services.blobs, scratch=FilePath(folder))

    prepared = await run_heavy(request, prepare)

    def action(session: Session) -> wire.SplitView:
        by = (call.actor.id, call.actor.name)
        made, _ = service.create_split(session, call.project.id, source, prepared, by=by)
        return _split(made, source, user_names(session, [made.created_by]))

    return await run_in_threadpool(call.write, 201, action)


@router.get(_SNAPSHOT + "/splits")
def list_splits(
    call: Reader, dataset: DatasetName, snapshot: SnapshotName, limit: Limit = 100, after: UUID | None = None
) -> Page[wire.SplitView]:
    """The splits of a snapshot, newest first."""

    def action(session: Session) -> Page[wire.SplitView]:
        source = _find(session, call, dataset, snapshot)
        found = service.list_splits(session, call.project.id, source.id, after=after, limit=limit)
        names = user_names(session, [each.created_by for each in found])
        return Page(items=[_split(each, source, names) for each in found], next=_next(found, limit))

    return call.read(action)


@router.get("/projects/{project}/splits/{split_id}")
def get_split(call: Reader, split_id: UUID) -> wire.SplitView:
    """One split."""

    def action(session: Session) -> wire.SplitView:
        found = service.get_split(session, call.project.id, SplitId(split_id))
        source = service.snapshot_by_id(session, call.project.id, found.snapshot_id)
        return _split(found, source, user_names(session, [found.created_by]))

    return call.read(action)


def _register(
    call: Call, dataset: str, prepared: PreparedSnapshot, upload: Upload, description: str
) -> wire.PushedSnapshot:
    def action(session: Session) -> wire.PushedSnapshot:
        by = (call.actor.id, call.actor.name)
        made, is_new = service.push_snapshot(
            session, call.project.id, dataset, prepared, by=by, description=description
        )
        return wire.PushedSnapshot(snapshot=_snapshot(made, user_names(session, [made.created_by])), is_new=is_new)

    return call.write(201, action, fingerprint=digest_json([call.fingerprint, upload.digest]))


def _options(text: str | None) -> wire.IngestOptions:
    if text is None:
        return wire.IngestOptions()
    try:
        document = json.loads(text)
    except ValueError as error:
        raise Invalid(f"options: not JSON: {error}", code="bad_document") from error
    return parse_document(wire.IngestOptions, document, "options")


def _find(session: Session, call: Call, dataset: str, snapshot: str) -> Snapshot:
    which = None if snapshot == "latest" else int(snapshot) if snapshot.isdecimal() else snapshot
    return service.get_snapshot(session, call.project.id, dataset, which)


def _next(found: list[Dataset] | list[Snapshot] | list[Split], limit: int) -> str | None:
    return str(found[-1].id) if len(found) == limit else None


def _dataset(found: Dataset, names: dict[UUID, str]) -> wire.DatasetView:
    return wire.DatasetView(
        id=found.id,
        name=found.name,
        description=found.description,
        latest_snapshot=found.latest,
        created_by=names.get(found.created_by, str(found.created_by)),
        created_at=found.created_at,
    )


def _snapshot(found: Snapshot, names: dict[UUID, str]) -> wire.SnapshotView:
    return wire.SnapshotView(
        id=found.id,
        dataset=found.dataset,
        number=found.number,
        digest=found.digest,
        row_count=found.row_count,
        byte_count=found.byte_count,
        columns=list(found.columns),
        time_column=found.time_column,
        time_from=found.time_from,
        time_until=found.time_until,
        created_by=names.get(found.created_by, str(found.created_by)),
        created_at=found.created_at,
    )


def _split(found: Split, source: Snapshot, names: dict[UUID, str]) -> wire.SplitView:
    return wire.SplitView(
        id=found.id,
        dataset=source.dataset,
        snapshot=source.number,
        digest=found.digest,
        spec=found.spec,
        train_rows=found.train_rows,
        holdout_rows=found.holdout_rows,
        excluded_rows=source.row_count - found.train_rows - found.holdout_rows,
        shared_rows=found.shared_rows,
        holdout_looks=found.holdout_looks,
        created_by=names.get(found.created_by, str(found.created_by)),
        created_at=found.created_at,
    )
