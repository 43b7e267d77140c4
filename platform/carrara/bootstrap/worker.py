"""The worker process: jobs of every kind, in confined children."""

from carrara.bootstrap.job_worker import serve
from carrara.bootstrap.platform import build
from carrara.kernel.config import Settings

PRELOAD = (
    "numpy",
    "pandas",
    "pyarrow",
    "pyarrow.parquet",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.impute",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "skops.io",
    "mlflow",
    "mlflow.sklearn",
)
CHILD_MODULES = ("carrara.training.child", "carrara.registry.child", "carrara.evaluation.child")


def main(settings: Settings) -> None:
    """Runs jobs of every kind until SIGTERM or SIGINT."""
    services = build(settings)
    serve(settings, services.jobs.handlers, (*PRELOAD, *CHILD_MODULES))
