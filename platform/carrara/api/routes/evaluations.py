"""Evaluations: ask for one, read the evidence, take the scored rows."""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.responses import FileResponse
from sqlalchemy.orm import Session
from starlette.background import BackgroundTask

from carrara.access.policy import Permission
from carrara.api.call import Call, allowed
from carrara.contracts.evaluation import EvaluationView, RequestEvaluation
from carrara.contracts.jobs import JobKind, JobView
from carrara.contracts.wire import Page
from carrara.evaluation import service, store

router = APIRouter(prefix="/projects/{project}", tags=["evaluations"])

_EVALUATIONS = "/models/{model}/versions/{number}/evaluations"
Reader = Annotated[Call, Depends(allowed(Permission.READ))]
Submitter = Annotated[Call, Depends(allowed(Permission.SUBMIT_JOB))]


@router.post(_EVALUATIONS, status_code=201)
def request_evaluation(call: Submitter, model: str, number: int, body: RequestEvaluation) -> JobView:
    """Queue an evaluation of a version; with `endpoint`, what is live there is scored on the same rows."""
    spec = {"model": model, "version": number, **body.model_dump(mode="json", exclude_none=True)}

    def action(session: Session) -> JobView:
        jobs = call.services.jobs
        job_id = jobs.submit(session, call.project.id, call.actor.id, JobKind.EVALUATE, spec)
        return jobs.get(session, call.project.id, job_id)

    return call.write(201, action)


@router.get(_EVALUATIONS)
def list_evaluations(
    call: Reader,
    model: str,
    number: int,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    after: UUID | None = None,
) -> Page[EvaluationView]:
    """The evaluations of a version, newest first."""

    def action(session: Session) -> Page[EvaluationView]:
        found = service.list_evaluations(session, call.project.id, model, number, after=after, limit=limit)
        return Page(items=found, next=str(found[-1].id) if len(found) == limit else None)

    return call.read(action)


@router.get("/evaluations/{evaluation_id}")
def get_evaluation(call: Reader, evaluation_id: UUID) -> EvaluationView:
    """One evaluation with its report."""
    return call.read(lambda session: store.evaluation(session, call.project.id, evaluation_id)[0])


@router.get("/evaluations/{evaluation_id}/predictions", response_class=FileResponse)
def download_predictions(call: Reader, evaluation_id: UUID) -> FileResponse:
    """The scored holdout as Parquet: `row` (its position in the snapshot), `label`, `prediction` and, of a classifier,
    `probability_<class>`."""
    _, predictions = call.read(lambda session: store.evaluation(session, call.project.id, evaluation_id))
    folder = Path(tempfile.mkdtemp(prefix="carrara-predictions-"))
    try:
        call.services.blobs.download(predictions.digest, folder / "predictions.parquet")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return FileResponse(
        folder / "predictions.parquet",
        media_type="application/vnd.apache.parquet",
        filename=f"predictions-{evaluation_id}.parquet",
        background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
    )
