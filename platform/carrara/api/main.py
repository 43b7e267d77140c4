"""`carrara platform`: one uvicorn process over the application."""

import uvicorn

from carrara.api.app import create_app
from carrara.bootstrap.platform import build
from carrara.kernel.config import Settings
from carrara.kernel.telemetry import configure_logging

MAX_HEAD_BYTES = 64 << 10


def main(settings: Settings) -> None:
    """Serves until SIGTERM; then answers what is under way, for at most five seconds."""
    configure_logging("platform", settings.log_level)
    host = settings.host("platform")
    uvicorn.run(
        create_app(build(settings)),
        host=host,
        port=settings.platform_port,
        http="h11",  # it bounds the head of a request, which httptools does not
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        ws="none",
        proxy_headers=False,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        server_header=False,
    )
