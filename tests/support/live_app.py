"""The platform's application on a real port, for clients that speak HTTP from another process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from tests.support.object_store import free_port
from tests.support.waiting import eventually

from carrara.api.app import create_app
from carrara.bootstrap.platform import Services


@contextmanager
def live_app(services: Services) -> Iterator[str]:
    """Its URL; the server stops after the block."""
    port = free_port()
    config = uvicorn.Config(
        create_app(services), host="127.0.0.1", port=port, log_config=None, access_log=False, ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        eventually(lambda: server.started, within_seconds=20, what="the platform answers")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
