"""The two processes that are compared: our worker, and a bare Celery worker whose task writes down when it began."""

import sys
import time
from pathlib import Path

from celery import Celery
from tests.support.jobs import PlayHandler

from carrara.bootstrap.job_worker import serve
from carrara.bootstrap.worker import CHILD_MODULES, PRELOAD
from carrara.contracts.jobs import JobKind
from carrara.kernel.config import Settings

BARE_TASK = "benchmark.when"


def run_ours() -> None:
    """The real worker with the real preload; its job tells when its code began."""
    serve(Settings(), {JobKind.TRAIN: PlayHandler()}, (*PRELOAD, *CHILD_MODULES))


def run_bare(redis_url: str, folder: Path) -> None:
    """Celery's own threads pool."""
    app = Celery("bare", broker=redis_url)
    app.conf.update(task_default_queue="bare", task_ignore_result=True)

    @app.task(name=BARE_TASK)  # type: ignore[untyped-decorator]  # Celery ships no types
    def when(number: int) -> None:
        draft = folder / f".{number}"
        draft.write_text(str(time.time()))
        draft.rename(folder / str(number))

    app.worker_main(["worker", "--pool=threads", "--concurrency=2", "--loglevel=WARNING", "--without-gossip"])


if __name__ == "__main__":
    if sys.argv[1] == "ours":
        run_ours()
    else:
        run_bare(sys.argv[2], Path(sys.argv[3]))
