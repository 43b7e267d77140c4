"""One serving process: `python -m carrara.serving.process`, started by `serving.parent` with a listening socket."""

import argparse
import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn
import uvloop

from carrara.bootstrap.serving import ServingParts, compose
from carrara.inference.data_plane import DataPlane
from carrara.inference.prediction_ids import PredictionIds
from carrara.inference.slots import REHEARSE_EVERY_SECONDS, Slots
from carrara.kernel.config import Settings
from carrara.kernel.ids import uuid7
from carrara.kernel.telemetry import configure_logging
from carrara.serving.app import AppLimits, ServingApp
from carrara.serving.follower import Follower, Identity
from carrara.serving.platform_client import PlatformClient
from carrara.serving.route_file import RouteFile

log = logging.getLogger(__name__)

DRAIN_SECONDS = 25.0
_CLOSE_SECONDS = 3
_PARENT_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1
_KEEP_ALIVE_SECONDS = 75


class _Server(uvicorn.Server):
    """Without uvicorn's signal handlers: we drain first, then tell it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def main() -> None:
    """Serves until SIGTERM or until the parent is gone."""
    arguments = _arguments()
    settings = Settings()
    configure_logging(f"serving-{arguments.index}", settings.log_level)
    _die_with(arguments.parent)
    identity = Identity(arguments.instance, arguments.index, uuid7())
    listening = socket.socket(fileno=arguments.fd)
    uvloop.run(_serve(settings, identity, listening, arguments.parent))
    logging.shutdown()
    os._exit(0)  # threads that wait for a child's end must not hold us


async def _serve(settings: Settings, identity: Identity, listening: socket.socket, parent: int) -> None:
    parts = compose(settings, instance=identity.instance, index=identity.index)
    plane = DataPlane(PredictionIds(identity.boot_id), settings.max_in_flight, settings.max_rows)
    app = ServingApp(plane, AppLimits(settings.max_body_bytes, settings.max_stale_auth_seconds), identity.index)
    follower = Follower(
        identity=identity,
        client=PlatformClient(settings.platform_url, settings.required("serving_secret")),
        file=RouteFile(parts.routes_path),
        slots=Slots(parts.loader, plane),
        clock=parts.loader.clock,
        taken=app.take,
    )
    app.follower = follower
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    follower.start_from_disk()
    server = _Server(_config(app))
    answering = asyncio.create_task(server.serve(sockets=[listening]))
    work = [
        asyncio.create_task(follower.follow()),
        asyncio.create_task(follower.report()),
        asyncio.create_task(_look_after(follower.slots, parts)),
        asyncio.create_task(_watch_parent(parent, stop)),
    ]
    stopping = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([stopping, answering, *work], return_when=asyncio.FIRST_COMPLETED)
    for task in done - {stopping}:
        log.error("a part of this process ended, so all of it does", exc_info=task.exception())
    await _drain(app)
    server.should_exit = True
    await asyncio.wait([answering], timeout=_CLOSE_SECONDS + 1)
    for task in work:
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)
    await follower.client.leave(identity.boot_id)
    await follower.slots.close()
    await asyncio.to_thread(parts.close)
    await follower.client.close()


async def _drain(app: ServingApp) -> None:
    """Answers what has begun; what comes now gets 503 and comes again elsewhere."""
    app.is_draining = True
    log.info("draining %d requests", app.in_flight)
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while app.in_flight:
                await asyncio.sleep(0.02)
    except TimeoutError:
        log.error("%d requests were not answered within %g s", app.in_flight, DRAIN_SECONDS)


async def _look_after(slots: Slots, parts: ServingParts) -> None:
    while True:
        await asyncio.sleep(REHEARSE_EVERY_SECONDS)
        await slots.rehearse_warm()
        if slots.table is not None:
            await asyncio.to_thread(parts.loader.cache.prune, set(slots.table.releases))


async def _watch_parent(parent: int, stop: asyncio.Event) -> None:
    """For systems without a parent-death signal: an orphan would hold the port against its successor."""
    while os.getppid() == parent:
        await asyncio.sleep(_PARENT_SECONDS)
    log.error("the parent is gone")
    stop.set()
    await asyncio.Event().wait()


def _config(app: ServingApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_CLOSE_SECONDS,
    )


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One serving process; `carrara serving` starts it.")
    parser.add_argument("--instance", required=True)
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--fd", type=int, required=True, help="the listening socket")
    parser.add_argument("--parent", type=int, required=True, help="pid of the process that started it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
