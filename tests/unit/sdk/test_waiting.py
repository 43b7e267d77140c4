"""Who waits for the version of a job learns why there will be none."""

from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import pytest

from carrara.contracts.jobs import FollowUpError, JobProgress, JobState, JobView
from carrara.kernel.errors import Conflict
from carrara.kernel.ids import uuid7
from carrara.sdk.models import Models
from carrara.sdk.transport import Transport

JOB = uuid7()


class NoVersion:
    """Answers like a platform whose job succeeded and whose registration failed."""

    def __init__(self, *, given_up: bool) -> None:
        self._failure = FollowUpError(message="MLflow refuses the name", given_up=given_up)

    def pages(self, path: str, kind: Any, **query: Any) -> Any:
        return iter(())

    def get(self, path: str, kind: Any, **query: Any) -> Any:
        assert path == f"/projects/flights/jobs/{JOB}"
        return _job(JOB, self._failure)


def _job(job_id: UUID, failure: FollowUpError) -> JobView:
    return JobView(
        id=job_id,
        project="flights",
        kind="train",
        state=JobState.SUCCEEDED,
        attempt=1,
        max_attempts=2,
        spec={},
        progress=JobProgress(),
        result={},
        error=None,
        follow_up_error=failure,
        cancel_requested=False,
        submitted_by="ada",
        parent_job_id=None,
        created_at=datetime.now(UTC),
        started_at=None,
        finished_at=None,
    )


def test_waiting_ends_with_the_reason_when_registering_was_given_up() -> None:
    models = Models(cast("Transport", NoVersion(given_up=True)), "/projects/flights")
    with pytest.raises(Conflict, match="MLflow refuses the name"):
        models.wait_for_job("delays", JOB)


def test_a_wait_that_ends_too_early_names_the_last_failure() -> None:
    models = Models(cast("Transport", NoVersion(given_up=False)), "/projects/flights")
    with pytest.raises(TimeoutError, match="MLflow refuses the name"):
        models.wait_for_job("delays", JOB, timeout_seconds=0)
