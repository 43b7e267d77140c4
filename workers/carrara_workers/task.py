"""What every task of ours shares: acknowledged late, without a result, its ids in every log line."""

from typing import Any

from celery import Task

from carrara.kernel.telemetry import log_context


class CarraraTask(Task):  # type: ignore[misc]  # Celery ships no types
    """A short message from another process of ours. What it asks for is looked up, never believed."""

    abstract = True
    acks_late = True
    ignore_result = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with log_context(task=self.name, task_id=self.request.id):
            return super().__call__(*args, **kwargs)
