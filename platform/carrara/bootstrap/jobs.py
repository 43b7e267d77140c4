"""The job service with its doorbell, and the kinds of job that there are."""

from dataclasses import dataclass

from carrara.contracts.jobs import JobKind
from carrara.jobs.celery_queue import CeleryDoorbell, SilentDoorbell
from carrara.jobs.ports import Doorbell, JobHandler
from carrara.jobs.service import JobService
from carrara.kernel.clock import Clock
from carrara.kernel.config import Settings


@dataclass(frozen=True)
class JobParts:
    """`handlers` is filled after the service is made: handlers queue follow-up jobs through `service.submit`."""

    service: JobService
    handlers: dict[JobKind, JobHandler]
    doorbell: Doorbell


def build_jobs(settings: Settings, clock: Clock) -> JobParts:
    """Connects nothing yet; without CARRARA_REDIS_URL workers hear of jobs from Postgres alone."""
    doorbell: Doorbell = SilentDoorbell()
    if settings.redis_url is not None:
        doorbell = CeleryDoorbell(settings.redis_url.get_secret_value(), clock)
    handlers: dict[JobKind, JobHandler] = {}
    return JobParts(JobService(handlers, doorbell), handlers, doorbell)
