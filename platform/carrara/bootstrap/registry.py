"""The registry with its MLflow: what validates, what registers and what adopts."""

from dataclasses import dataclass

from carrara.contracts.training import REGISTER_TRAINED
from carrara.jobs.ports import Submit
from carrara.kernel.clock import Clock
from carrara.kernel.config import Settings
from carrara.persistence.database import Database
from carrara.persistence.outbox import Handler
from carrara.registry.adoption import AdoptionSweep
from carrara.registry.artifacts import ArtifactCopier
from carrara.registry.handler import ValidateHandler
from carrara.registry.mlflow_http import MlflowHttp
from carrara.registry.mlflow_rest import MlflowTracking
from carrara.registry.ports import ModelTracking
from carrara.registry.trained import RegisterTrained
from carrara.storage.blobs import Blobs


@dataclass(frozen=True)
class RegistryParts:
    """`outbox` by kind of message; `sweep` adopts what the proxy missed, every few seconds."""

    tracking: ModelTracking
    validate: ValidateHandler
    outbox: dict[str, Handler]
    sweep: AdoptionSweep


def build_registry(settings: Settings, database: Database, blobs: Blobs, submit: Submit, clock: Clock) -> RegistryParts:
    """Connects nothing yet; without CARRARA_MLFLOW_URL every call to MLflow is `Unavailable`, naming the variable."""
    secret = settings.mlflow_secret.get_secret_value() if settings.mlflow_secret else None
    tracking = MlflowTracking(MlflowHttp(settings.mlflow_url, secret))
    copier = ArtifactCopier(database, blobs, tracking, max_bytes=settings.max_upload_bytes)
    return RegistryParts(
        tracking=tracking,
        validate=ValidateHandler(database, blobs, copier, submit),
        outbox={REGISTER_TRAINED: RegisterTrained(database, tracking, blobs, submit, clock)},
        sweep=AdoptionSweep(database, tracking, submit),
    )
