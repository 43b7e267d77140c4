"""`carrara up` and `down` without a terminal: the lock, the leftovers, the plan, the supervisor."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from carrara.embedded.children import Identity, is_alive
from carrara.embedded.layout import DataDirectory, open_data_directory
from carrara.embedded.leftovers import end_leftovers
from carrara.embedded.plan import AskedPorts, plan_stack
from carrara.embedded.postgres_places import write_durably
from carrara.embedded.supervisor import Event, Supervisor
from carrara.kernel.errors import Unavailable
from carrara.processes import PROCESSES, ProcessSpec

_DOWN_SECONDS = 12.0


def run_stack(
    data_dir: Path,
    asked: AskedPorts,
    environ: Mapping[str, str],
    *,
    report: Callable[[Event], None],
    specs: Sequence[ProcessSpec] = PROCESSES,
) -> None:
    """Runs the whole platform until a signal stops it. Call it from the main thread.

    Conflict if it already runs there or a port is taken, Unavailable if a disk, a folder or a child says no.
    """
    place = open_data_directory(data_dir)
    with place.run.locked():
        left = end_leftovers(place.run)
        if left:
            report(_note(f"ended {left} processes that an earlier run had left"))
        plan = plan_stack(place, asked, environ, specs=specs, say=lambda sentence: report(_note(sentence)))
        for sentence in plan.notes:
            report(_note(sentence))
        supervisor = Supervisor(
            plan.children,
            data_dir=place.root,
            urls=plan.urls,
            report=report,
            on_ready=lambda: write_client_file(place, plan.urls),
        )
        asyncio.run(supervisor.run())


def write_client_file(place: DataDirectory, urls: Mapping[str, str]) -> None:
    """Where the CLI and the SDK find the platform when they are used beside this data directory."""
    known = {"url": urls["platform"], "serving_url": urls["serving"], "token_file": str(place.admin_token)}
    with contextlib.suppress(OSError):  # a full disk: what runs, runs, and the old file most likely says the same
        write_durably(place.client, json.dumps(known, indent=2) + "\n")


def stop_stack(data_dir: Path) -> bool:
    """Stops what runs in this data directory and waits until it has ended; False if nothing ran.

    Unavailable if that cannot be found out, or if we may not stop it.
    """
    place = DataDirectory(data_dir.absolute())
    if not place.run.is_locked():
        return end_leftovers(place.run) > 0
    record = place.run.read()
    if record is None or not is_alive(record.supervisor):
        raise Unavailable(f"something holds {place.run.directory}/lock, but {place.run.state_path} does not say what")
    _send(record.supervisor, signal.SIGTERM)
    if not _unlocked(place, _DOWN_SECONDS):
        _send(record.supervisor, signal.SIGKILL)
        _unlocked(place, _DOWN_SECONDS)
        end_leftovers(place.run)
    return True


def _send(identity: Identity, number: signal.Signals) -> None:
    try:
        os.kill(identity.pid, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise Unavailable(f"process {identity.pid} belongs to another user: stop it as that user or as root") from error


def _unlocked(place: DataDirectory, within_seconds: float) -> bool:
    deadline = time.monotonic() + within_seconds
    while place.run.is_locked():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _note(sentence: str) -> Event:
    return {"event": "note", "message": sentence}
