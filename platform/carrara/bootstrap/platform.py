"""The composition of the platform process: every adapter is chosen here, once."""

from dataclasses import dataclass

import carrara.bootstrap.schema  # noqa: F401  # every table, so that foreign keys between features resolve
from carrara.access.service import RoutesChanged
from carrara.bootstrap.evaluation import EvaluationParts, build_evaluation
from carrara.bootstrap.jobs import build_jobs
from carrara.bootstrap.registry import RegistryParts, build_registry
from carrara.contracts.jobs import JobKind
from carrara.deployments.ports import Neighbours
from carrara.deployments.release_use import release_use
from carrara.deployments.route_feed import RouteFeed
from carrara.deployments.store import bump_generation
from carrara.jobs.limits import MostAllowed
from carrara.jobs.service import JobService
from carrara.kernel.clock import Clock, SystemClock
from carrara.kernel.config import Settings
from carrara.persistence.database import Database
from carrara.registry.ports import ReleaseUse
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
    registry: RegistryParts
    evaluation: EvaluationParts
    is_release_in_use: ReleaseUse
    neighbours: Neighbours
    route_feed: RouteFeed

    def close(self) -> None:
        """Ends threads and connections."""
        self.route_feed.stop()
        self.database.close()


def build(settings: Settings) -> Services:
    """Connects nothing yet: a missing database shows at the first transaction, as `Unavailable`."""
    store = open_store(settings.required("object_store"), s3_endpoint_url=settings.s3_endpoint_url)
    clock = SystemClock()
    url = settings.required("database_url")
    database, blobs = Database(url), Blobs(store)
    jobs = build_jobs(settings, clock)
    registry = build_registry(settings, database, blobs, jobs.service.submit, clock)
    most = MostAllowed(settings.job_memory_bytes, settings.job_max_timeout_seconds)
    evaluation = build_evaluation(database, blobs, clock, most=most)
    jobs.handlers[JobKind.VALIDATE] = registry.validate
    jobs.handlers[JobKind.TRAIN] = evaluation.train
    jobs.handlers[JobKind.EVALUATE] = evaluation.evaluate
    return Services(
        settings=settings,
        clock=clock,
        database=database,
        store=store,
        blobs=blobs,
        routes_changed=bump_generation,
        jobs=jobs.service,
        registry=registry,
        evaluation=evaluation,
        is_release_in_use=release_use,
        neighbours=Neighbours(evaluation.gates, settings.rollout_deadline_seconds),
        route_feed=RouteFeed(database, url),
    )
