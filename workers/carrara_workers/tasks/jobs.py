"""The doorbell: somebody says that a job waits."""

from uuid import UUID

from celery import shared_task

from carrara.jobs.celery_queue import RING_TASK, heard_of
from carrara_workers.task import CarraraTask


@shared_task(name=RING_TASK, base=CarraraTask, bind=True)  # type: ignore[untyped-decorator]  # Celery ships no types
def ring(task: CarraraTask, job_id: str) -> None:
    """Wakes this worker's dispatcher, which asks the database what there is to do."""
    heard_of(task.app)(UUID(job_id))
