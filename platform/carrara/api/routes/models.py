"""Models, versions with their files and lineage, and releases."""

from itertools import chain
from pathlib import PurePosixPath
from typing import Annotated, TypeVar, cast
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response, StreamingResponse
from sqlalchemy.orm import Session

from carrara.access.policy import Permission
from carrara.api.call import Call, allowed
from carrara.contracts.registry import (
    LineageView,
    ModelView,
    ReleaseView,
    RetireVersion,
    VersionState,
    VersionSummary,
    VersionView,
)
from carrara.contracts.release import ArtifactFile
from carrara.contracts.wire import Page
from carrara.kernel.errors import NotFound
from carrara.registry import listing, service
from carrara.registry.lineage import lineage_of

router = APIRouter(tags=["models"])
T = TypeVar("T")

_MODELS = "/projects/{project}/models"
_VERSION = _MODELS + "/{model}/versions/{number}"

Reader = Annotated[Call, Depends(allowed(Permission.READ))]
Retirer = Annotated[Call, Depends(allowed(Permission.RETIRE_VERSION))]
Number = Annotated[int, Path(ge=1, lt=1 << 31, description="the version's number")]
Limit = Annotated[int, Query(ge=1, le=500)]
Search = Annotated[str | None, Query(max_length=63, description="any part of the model's name")]
After = Annotated[str | None, Query(max_length=63, description="`next` of the page before")]


@router.get(_MODELS)
def list_models(call: Reader, search: Search = None, limit: Limit = 100, after: After = None) -> Page[ModelView]:
    """Models by name, each with its newest version."""
    return _rendered(
        call.read(
            lambda session: listing.models_page(session, call.project.id, search=search, limit=limit, after=after)
        )
    )


@router.get(_MODELS + "/{model}")
def get_model(call: Reader, model: str) -> ModelView:
    """One model."""
    return call.read(lambda session: listing.get_model(session, call.project.id, model))


@router.get(_MODELS + "/{model}/versions")
def list_versions(
    call: Reader,
    model: str,
    state: VersionState | None = None,
    job: Annotated[UUID | None, Query(description="only the version that this training job made")] = None,
    limit: Limit = 100,
    after: After = None,
) -> Page[VersionSummary]:
    """Versions of a model, the newest first."""
    page = call.read(
        lambda session: listing.versions_of_model(
            session, call.project.id, model, state=state, job_id=job, limit=limit, after=after
        )
    )
    return _rendered(page)


@router.get("/projects/{project}/versions")
def search_versions(
    call: Reader,
    search: Search = None,
    state: VersionState | None = None,
    limit: Limit = 100,
    after: UUID | None = None,
) -> Page[VersionSummary]:
    """Versions of all models of the project, the newest first."""
    page = call.read(
        lambda session: listing.search_versions(
            session, call.project.id, search=search, state=state, limit=limit, after=after
        )
    )
    return _rendered(page)


@router.get(_VERSION)
def get_version(call: Reader, model: str, number: Number) -> VersionView:
    """All of a version: state, contract, files with digests, what was seen in them, where it comes from."""
    return call.read(lambda session: listing.get_version(session, call.project.id, model, number))


@router.get(_VERSION + "/lineage")
def get_lineage(call: Reader, model: str, number: Number) -> LineageView:
    """From data and code to the release."""
    return lineage_of(call.read(lambda session: listing.get_version(session, call.project.id, model, number)))


@router.post(_VERSION + "/retire")
def retire_version(call: Retirer, model: str, number: Number, body: RetireVersion) -> VersionView:
    """Take a version out of use. 409 `in_use` names the endpoints that still need it."""

    def act(session: Session) -> VersionView:
        service.retire(
            session,
            call.project.id,
            call.actor,
            (model, number),
            reason=body.reason,
            is_release_in_use=call.services.is_release_in_use,
        )
        return listing.get_version(session, call.project.id, model, number)

    return call.write(200, act)


@router.get(_VERSION + "/files")
def list_files(call: Reader, model: str, number: Number) -> list[ArtifactFile]:
    """The files of the model folder, each with its digest."""
    return call.read(lambda session: listing.get_version(session, call.project.id, model, number)).files


@router.get(
    _VERSION + "/files/{path:path}",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "the bytes of the file"}},
)
def download_file(call: Reader, model: str, number: Number, path: str) -> StreamingResponse:
    """One file of the model folder. `carrara version pull` takes all of them and checks each digest."""
    version = call.read(lambda session: listing.get_version(session, call.project.id, model, number))
    file = next((file for file in version.files if file.path == path), None)
    if file is None:
        raise NotFound("file", model=model, version=number, path=path[:200])
    blocks = call.services.blobs.blocks(file.digest)
    first = next(blocks, b"")  # what is not there is 404, not a broken download
    headers = {
        "content-length": str(file.size),
        "content-disposition": f'attachment; filename="{_ascii(PurePosixPath(path).name)}"',
        "x-content-type-options": "nosniff",
        "etag": f'"{file.digest}"',
    }
    return StreamingResponse(chain([first], blocks), headers=headers, media_type="application/octet-stream")


@router.get("/projects/{project}/releases/{digest}")
def get_release(call: Reader, digest: str) -> ReleaseView:
    """The release of this digest, with its whole manifest."""
    return call.read(lambda session: listing.get_release(session, call.project.id, digest))


def _rendered(page: Page[T]) -> Page[T]:
    """The page as JSON already: FastAPI would check and copy each item a second time, which takes half of the call.

    Typed as the page, so that OpenAPI shows it.
    """
    return cast("Page[T]", Response(page.model_dump_json(), media_type="application/json"))


def _ascii(name: str) -> str:
    return "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "_" for char in name)[:100]
