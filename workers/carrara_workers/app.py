"""The Celery app for `celery -A carrara_workers.app inspect ...`; the worker process makes its own, the same way."""

from carrara.jobs.celery_queue import make_celery
from carrara.kernel.config import Settings

app = make_celery(Settings().required("redis_url"))
