"""The composition of the platform process: every adapter is chosen here, once."""

from dataclasses import dataclass

from carrara.access.service import RoutesChanged
from carrara.bootstrap.jobs import build_jobs
from carrara.deployments.store import bump_generation
from carrara.jobs.service import JobService
from carrara.kernel.clock import Clock, SystemClock
from carrara.kernel.config import Settings
from carrara.persistence.database import Database
from carrara.storage.blobs import Blobs
from carrara.storage.factory import open_store
from carrara.storage.ports import ObjectStore


@dataclass(frozen=True)
class Services:
    """What the edges of the platform process work with."""

    settings: Settings
    clock: Clock
    database: Database
    store: ObjectStore
    blobs: Blobs
    routes_changed: RoutesChanged
    jobs: JobService


def build(settings: Settings) -> Services:
    """Connects nothing yet: a missing database shows at the first transaction, as `Unavailable`."""
    store = open_store(settings.required("object_store"), s3_endpoint_url=settings.s3_endpoint_url)
    clock = SystemClock()
    jobs = build_jobs(settings, clock)
    return Services(
        settings=settings,
        clock=clock,
        database=Database(settings.required("database_url")),
        store=store,
        blobs=Blobs(store),
        routes_changed=bump_generation,
        jobs=jobs.service,
    )
