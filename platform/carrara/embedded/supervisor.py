"""The parent of all processes on one machine: starts them in order, keeps them running, leaves none behind."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from carrara.embedded.child import FINE, Child, ChildPlan, ChildState
from carrara.embedded.children import Identity, become_subreaper, identity_of
from carrara.embedded.leftovers import end_descendants
from carrara.embedded.logs import rotate
from carrara.embedded.state import RunFiles, StackRecord
from carrara.kernel.errors import Unavailable

Event = dict[str, Any]
STOP_SECONDS = 6.0
SERVER_STOP_SECONDS = 9.0
_HOPELESS_AFTER = 5  # failed starts in a row of a process that never was ready
_HOUSEKEEPING_SECONDS = 5.0
_SETTLE_SECONDS = 0.1


class Supervisor:
    """Runs these children until a signal says stop. `report` gets one event for each change, in order.

    Everything happens in the main thread: a child's death signal follows the thread that forked it.
    """

    def __init__(
        self,
        plans: Sequence[ChildPlan],
        *,
        data_dir: Path,
        urls: Mapping[str, str],
        report: Callable[[Event], None],
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._files = RunFiles(data_dir)
        self._logs = data_dir / "logs"
        self._report = report
        self._on_ready = on_ready
        self._children = {
            plan.spec.name: Child(plan, data_dir / "secrets", on_change=self._child_changed) for plan in plans
        }
        self._stop_asked = asyncio.Event()
        self._hopeless: Child | None = None
        self._record = StackRecord("starting", _own_identity(), time.time(), dict(urls))

    async def run(self) -> None:
        """Returns when every process has ended. Unavailable if one could not be started at all."""
        self._change("starting")
        become_subreaper()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._asked_to_stop)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        jobs = [asyncio.create_task(self._run_child(child)) for child in self._children.values()]
        jobs += [asyncio.create_task(self._announce_ready()), asyncio.create_task(self._keep_house())]
        failed = asyncio.gather(*jobs)
        asked = asyncio.create_task(self._stop_asked.wait())
        either: set[asyncio.Future[Any]] = {failed, asked}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._stop_all()
            for job in [*jobs, asked]:
                job.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await failed
            end_descendants()
            self._change("stopped")
        if self._hopeless is not None:
            raise Unavailable(
                f"{self._hopeless.name} did not start in {_HOPELESS_AFTER} tries ({self._why_hopeless})",
                process=self._hopeless.name,
                log=str(self._hopeless.plan.log_path),
            )

    async def _run_child(self, child: Child) -> None:
        if not child.plan.spec.waits_itself:
            for name in child.plan.spec.depends_on:
                if name in self._children:
                    await self._children[name].fine.wait()
        await child.run()

    async def _announce_ready(self) -> None:
        for child in self._children.values():
            await child.fine.wait()
        while not all(child.state in FINE for child in self._children.values()):
            await asyncio.sleep(_SETTLE_SECONDS)
        self._on_ready()
        self._change("ready")

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(_HOUSEKEEPING_SECONDS)
            for path in self._logs.glob("*.log"):
                rotate(path)

    async def _stop_all(self) -> None:
        """All at once, but each only after those that depend on it."""
        self._change("stopping")
        begun = time.monotonic()
        stops: dict[str, asyncio.Task[None]] = {}

        async def stop(child: Child) -> None:
            users = [other for other in self._children.values() if child.name in other.plan.spec.depends_on]
            child.stopping = True
            for user in users:
                await stops[user.name]
            await child.stop(begun + (SERVER_STOP_SECONDS if users else STOP_SECONDS))

        for name, child in self._children.items():
            stops[name] = asyncio.create_task(stop(child))
        await asyncio.gather(*stops.values())

    def _asked_to_stop(self) -> None:
        if self._stop_asked.is_set():  # asked again: no more patience
            for child in self._children.values():
                child.kill()
        self._stop_asked.set()

    def _reap(self) -> None:
        for child in self._children.values():
            child.reap()
        if sys.platform == "linux":
            self._reap_adopted()

    def _reap_adopted(self) -> None:
        """Grandchildren whose parent died became ours; their zombies are ours to bury."""
        ours = {child.process.pid for child in self._children.values() if child.process is not None}
        with contextlib.suppress(ChildProcessError):
            while (
                found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            ) is not None and found.si_pid not in ours:
                os.waitpid(found.si_pid, 0)

    def _child_changed(self, child: Child) -> None:
        never_was_ready = child.state is ChildState.BACKING_OFF and not child.fine.is_set()
        if never_was_ready and child.failures >= _HOPELESS_AFTER and self._hopeless is None:
            self._hopeless, self._why_hopeless = child, child.detail.partition("; next start")[0]
            self._stop_asked.set()
        self._report(
            {
                "event": "process",
                "name": child.name,
                "state": child.state.value,
                "pid": child.identity.pid if child.identity else None,
                "port": child.plan.probe.port or None,
                "restarts": child.restarts,
                "detail": child.detail,
            }
        )
        self._write()

    def _change(self, state: str) -> None:
        self._record = replace(self._record, state=state)
        self._write()
        self._report({"event": state, "pid": self._record.supervisor.pid, "urls": dict(self._record.urls)})

    def _write(self) -> None:
        processes = tuple(child.record() for child in self._children.values())
        self._record = replace(self._record, processes=processes)
        try:
            self._files.write(self._record)
        except OSError as error:  # a full disk must not end what runs
            self._report({"event": "warning", "message": f"cannot write {self._files.state_path}: {error.strerror}"})


def _own_identity() -> Identity:
    identity = identity_of(os.getpid())
    if identity is None:
        raise Unavailable("cannot read when our own process started: is /proc mounted?")
    return identity
