"""Every table of the platform in one metadata: what the migrations must produce."""

from carrara.access import tables as access
from carrara.audit import tables as audit
from carrara.datasets import tables as datasets
from carrara.deployments import tables as deployments
from carrara.evaluation import tables as evaluation
from carrara.jobs import tables as jobs
from carrara.persistence import idempotency, outbox
from carrara.persistence.tables import Row
from carrara.registry import tables as registry

FEATURES = (access, audit, datasets, deployments, evaluation, idempotency, jobs, outbox, registry)
metadata = Row.metadata
