"""One child under the supervisor: started, asked until it is ready, started again with back-off, stopped."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from carrara.embedded.accounts import Account
from carrara.embedded.children import Identity, identity_of, spawn
from carrara.embedded.leftovers import end_session
from carrara.embedded.probes import Probe, answers
from carrara.embedded.state import ProcessRecord
from carrara.kernel.errors import CarraraError
from carrara.processes import ProbeKind, ProcessSpec

_PROBE_SECONDS = 0.1
_RUNS_AFTER_SECONDS = 1.0
_FIRST_BACK_OFF_SECONDS = 0.5
_LONGEST_BACK_OFF_SECONDS = 30.0
_SETTLED_AFTER_SECONDS = 10.0
_KILL_SECONDS = 0.5
_TAIL_BYTES = 4096


class ChildState(StrEnum):
    """What the supervisor knows of a child. RUNNING: alive, but nothing tells whether it is ready."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    BACKING_OFF = "backing_off"
    STOPPING = "stopping"
    STOPPED = "stopped"


FINE = (ChildState.READY, ChildState.RUNNING, ChildState.DONE)


@dataclass(frozen=True)
class ChildPlan:
    """A child to run. `argv` may be a function, called before each start with the number of failed starts in a row: it
    prepares what the child needs, and may raise a `CarraraError`, which counts as a failed start."""

    spec: ProcessSpec
    argv: tuple[str, ...] | Callable[[int], tuple[str, ...]]
    environment: Mapping[str, str]
    log_path: Path
    probe: Probe
    account: Account | None = None


@dataclass
class Child:
    """A child as it is now. Every change goes through `become`, which tells `on_change`."""

    plan: ChildPlan
    secrets_directory: Path
    on_change: Callable[["Child"], None]
    state: ChildState = ChildState.WAITING
    since: float = field(default_factory=time.time)
    detail: str = ""
    restarts: int = 0
    failures: int = 0
    identity: Identity | None = None
    process: subprocess.Popen[bytes] | None = None
    fine: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: bool = False

    @property
    def name(self) -> str:
        return self.plan.spec.name

    def record(self) -> ProcessRecord:
        return ProcessRecord(
            self.name, self.state.value, self.since, self.plan.probe, self.identity, self.restarts, self.detail
        )

    def become(self, state: ChildState, detail: str = "") -> None:
        self.state, self.detail, self.since = state, detail, time.time()
        if state in FINE:
            self.fine.set()
        self.on_change(self)

    def reap(self) -> None:
        """Called at SIGCHLD: takes note if the process has ended."""
        if self.process is not None and self.process.poll() is not None:
            self.ended.set()

    async def run(self) -> None:
        """Until it is done or told to stop: start, watch, back off, again."""
        while not self.stopping:
            started = time.monotonic()
            ended_as = await self._once()
            if self.stopping or self.state is ChildState.DONE:
                return
            was_fine = self.state in FINE
            settled = was_fine and time.monotonic() - started > _SETTLED_AFTER_SECONDS
            self.failures = 0 if settled else self.failures + 1
            pause = min(_FIRST_BACK_OFF_SECONDS * 2 ** max(self.failures - 1, 0), _LONGEST_BACK_OFF_SECONDS)
            self.become(ChildState.BACKING_OFF, f"{ended_as}; next start in {pause:g} s; see {self.plan.log_path}")
            await asyncio.sleep(pause)
            self.restarts += 1

    async def stop(self, deadline: float) -> None:
        """Asks it to end, and kills what is left of it at `deadline` (of the monotonic clock)."""
        self.stopping = True
        if self.process is None or self.process.poll() is not None:
            self.become(ChildState.STOPPED)
            return
        self.become(ChildState.STOPPING)
        self.process.send_signal(self.plan.spec.stop_signal)
        try:
            await asyncio.wait_for(self.ended.wait(), max(deadline - time.monotonic(), 0.0))
            detail = ""
        except TimeoutError:
            detail = "killed: it did not end in time"
        self._sweep()
        with contextlib.suppress(TimeoutError):  # one that hangs in the kernel must not hold up the others
            await asyncio.wait_for(self.ended.wait(), _KILL_SECONDS)
        self.become(ChildState.STOPPED, detail)

    def kill(self) -> None:
        """At once and with all of its session."""
        if self.process is not None and self.process.poll() is None:
            self._sweep()

    async def _once(self) -> str:
        """One life, from start to end; gives how it ended."""
        self.become(ChildState.STARTING)
        try:
            self._start()
        except CarraraError as error:
            return error.message
        except OSError as error:
            return f"cannot be started: {error}"
        end = asyncio.create_task(self.ended.wait())
        ready = asyncio.create_task(self._until_ready())
        try:
            await asyncio.wait({end, ready}, return_when=asyncio.FIRST_COMPLETED)
            if not self.ended.is_set():
                alive = ChildState.RUNNING if self.plan.probe.kind is ProbeKind.RUNS else ChildState.READY
                if not self.stopping:
                    self.become(alive)
                await end
        finally:
            end.cancel()
            ready.cancel()
        return self._after_end()

    def _start(self) -> None:
        argv = self.plan.argv(self.failures) if callable(self.plan.argv) else self.plan.argv
        self.ended.clear()
        if self.plan.probe.heartbeat:
            Path(self.plan.probe.heartbeat).unlink(missing_ok=True)
        with self.plan.log_path.open("ab") as log:
            self.process = spawn(
                argv,
                environment=self.plan.environment,
                output=log,
                account=self.plan.account,
                death_signal=self.plan.spec.death_signal,
                directory=Path("/"),
            )
        self.identity = identity_of(self.process.pid)
        self.on_change(self)

    async def _until_ready(self) -> None:
        if self.plan.probe.kind is ProbeKind.FINISHES:
            await self.ended.wait()
        elif self.plan.probe.kind is ProbeKind.RUNS:
            await asyncio.sleep(_RUNS_AFTER_SECONDS)
        else:
            while not await answers(self.plan.probe, self.secrets_directory):
                await asyncio.sleep(_PROBE_SECONDS)

    def _after_end(self) -> str:
        assert self.process is not None  # noqa: S101  # _once started it
        code = self.process.returncode
        self._sweep()  # grandchildren of a dead child would hold its port
        self.identity = None
        if code == 0 and self.plan.spec.runs_once:
            self.become(ChildState.DONE)
            return ""
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
        said = _last_line(self.plan.log_path) if code > 0 else ""
        return f"{how}: {said}" if said else how

    def _sweep(self) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.identity is not None:
            end_session(self.identity)


def _last_line(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(stream.tell() - _TAIL_BYTES, 0))
            lines = stream.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip() if lines else ""
