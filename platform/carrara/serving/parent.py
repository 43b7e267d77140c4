"""The parent of the serving processes: owns the listening socket, keeps N processes behind it, holds no model.

A process that dies is started again; meanwhile its siblings accept from the same socket, so no connection is lost.
"""

import asyncio
import contextlib
import errno
import logging
import os
import re
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from dataclasses import dataclass, field

from pydantic import SecretStr

from carrara.kernel.config import Settings
from carrara.kernel.telemetry import configure_logging

log = logging.getLogger(__name__)

STOP_SECONDS = 29.0
_BACKLOG = 2048
_BIND_SECONDS = 15.0
_BACK_OFF_SECONDS = (0.1, 0.5, 2.0, 5.0, 10.0)
_SETTLED_SECONDS = 30.0


def main(settings: Settings) -> None:
    """Serves until SIGTERM; then all processes answer what they have, within 30 s."""
    configure_logging("serving", settings.log_level)
    settings.required("object_store")
    settings.required("serving_secret")
    settings.host("serving")
    asyncio.run(_run(settings))


@dataclass
class _Parent:
    settings: Settings
    listening: socket.socket
    instance: str
    stopping: asyncio.Event
    processes: dict[int, Process] = field(default_factory=dict)

    async def keep(self, index: int) -> None:
        """Keeps process `index` running until it is time to stop."""
        failures = 0
        while not self.stopping.is_set():
            started = time.monotonic()
            process = self.processes[index] = await self._start(index)
            code = await process.wait()
            if self.stopping.is_set():
                return
            failures = 0 if time.monotonic() - started > _SETTLED_SECONDS else failures + 1
            pause = _BACK_OFF_SECONDS[min(failures, len(_BACK_OFF_SECONDS) - 1)]
            log.error("serving process %d (pid %d) ended with %d; again in %g s", index, process.pid, code, pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.stopping.wait()

    async def _start(self, index: int) -> Process:
        descriptor = self.listening.fileno()
        arguments = ["--instance", self.instance, "--index", str(index), "--fd", str(descriptor)]
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # nothing in the current folder may stand in for one of our packages
            "-m",
            "carrara.serving.process",
            *arguments,
            "--parent",
            str(os.getpid()),
            env={**os.environ, **_environment(self.settings)},
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(descriptor,),
            start_new_session=True,  # Ctrl-C is for the parent, which ends them in order
        )

    async def stop(self, keepers: list[asyncio.Task[None]]) -> None:
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        _, running = await asyncio.wait(keepers, timeout=STOP_SECONDS)
        if running:
            log.error("%d processes did not end within %g s and are killed", len(running), STOP_SECONDS)
            for process in self.processes.values():
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await asyncio.wait(running)


async def _run(settings: Settings) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    listening = await _bind(settings.serving_host, settings.serving_port)
    host, port = listening.getsockname()[:2]
    log.info("serving at %s port %d with %d processes", host, port, settings.serving_workers)
    parent = _Parent(settings, listening, _instance_name(port), stopping)
    keepers = [asyncio.create_task(parent.keep(index)) for index in range(settings.serving_workers)]
    watching = asyncio.create_task(stopping.wait())
    await asyncio.wait([watching, *keepers], return_when=asyncio.FIRST_COMPLETED)
    stopping.set()
    listening.close()
    await parent.stop(keepers)
    for keeper in keepers:
        keeper.result()


async def _bind(host: str, port: int) -> socket.socket:
    """The listening socket; waits a little for the last processes of a parent that was killed."""
    deadline = time.monotonic() + _BIND_SECONDS
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen(_BACKLOG)
        except OSError as error:
            listening.close()
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                message = f"CARRARA_SERVING_PORT: cannot listen at {host} port {port}: {error.strerror}"
                raise ValueError(message) from error
            await asyncio.sleep(0.2)
        else:
            return listening


def _instance_name(port: int) -> str:
    """Stays the same over restarts, so that the saved route table and the models are found again."""
    host = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().lower()).strip("-") or "host"
    return f"{host[:50]}-{port}"


def _environment(settings: Settings) -> dict[str, str]:
    """Settings that were given, as the variables that a child reads: some may not have come from variables."""
    found = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is not None:
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            found[f"CARRARA_{name.upper()}"] = text
    return found
