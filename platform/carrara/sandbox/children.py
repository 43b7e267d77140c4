"""One child as the forkserver sees it, from the fork to the verdict."""

import contextlib
import mmap
import os
import signal
import socket
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from carrara.sandbox import frames, memory_watch, uids
from carrara.sandbox.cgroups import Group
from carrara.sandbox.child import MAX_REPORT_BYTES
from carrara.sandbox.domain import ChildExit, ChildTask, ExitKind, Layer
from carrara.sandbox.exits import Evidence, Stop, judge, out_of_memory_message

PREPARE_SECONDS = 30.0
_KILL_AFTER_SECONDS = 2.0
_GROUP_LOOK_SECONDS = 1.0


@dataclass
class Running:
    """A child that was forked. `head` is the pid that we wait for: the warden, or the one above it."""

    head: int
    task: ChildTask
    layers: frozenset[Layer]
    control: socket.socket
    verdict: int
    gate: int
    report: mmap.mmap
    uid: uids.OwnUid | None
    group: Group | None
    deadline: float
    refusal: dict[str, Any] | None = None
    pid: int = 0
    watch: memory_watch.MemoryWatch | None = None
    next_look: float = float("inf")
    stop: Stop | None = None
    code: int | None = None
    largest_bytes: int = 0
    escalate_at: float = float("inf")
    reader: frames.FrameReader = field(default_factory=frames.FrameReader)
    control_reader: frames.FrameReader = field(default_factory=frames.FrameReader)

    def tell(self, message: dict[str, Any]) -> bool:
        """Whether the client was there to be told. It reads few and short messages, so its buffer has room."""
        try:
            self.control.send(frames.encode_message(message), socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True

    def end(self, kind: ExitKind, message: str) -> None:
        """Begins to end the child with all that it started; the first reason stands."""
        if self.stop is not None:
            return
        self.stop = Stop(kind, message)
        self.escalate_at = time.monotonic() + _KILL_AFTER_SECONDS
        self.deadline = self.next_look = float("inf")
        os.kill(self.head, signal.SIGTERM)

    def escalate(self) -> None:
        """The warden does not answer: takes it down, and with it, as far as there is a pid namespace, all below."""
        self.escalate_at = float("inf")
        if Layer.PID_NAMESPACE not in self.layers:
            for pid in reversed(memory_watch.descendants(self.head)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        os.kill(self.head, signal.SIGKILL)

    def next_event(self) -> float:
        return min(self.deadline, self.next_look, self.escalate_at)

    def on_verdict(self) -> bool:
        """Takes what the warden or the child being made has to say; False when there is no more."""
        try:
            data = os.read(self.verdict, 1 << 16)
        except BlockingIOError:
            return True
        for payload in self.reader.feed(data):
            message = frames.decode_message(payload)
            if "ready" in message:
                self._on_ready(message["ready"])
            elif "refused" in message:
                self.refusal = self.refusal or message
            elif "code" in message:
                self.code = message["code"]
                self.largest_bytes = message["largest_bytes"]
        return bool(data)

    def _on_ready(self, pid: int) -> None:
        self.pid = pid
        now = time.monotonic()
        if self.stop is None:
            self.deadline = (
                float("inf") if self.task.limits.wall_seconds is None else now + self.task.limits.wall_seconds
            )
        if Layer.MEMORY_CGROUP not in self.layers:
            wardens = 2 if Layer.USER_NAMESPACE in self.layers else 1
            self.watch = memory_watch.MemoryWatch(self.head, wardens, self.task.limits.memory_bytes)
            self.next_look = now
        elif self.group is not None and not self.group.kills_as_one:
            self.next_look = now + _GROUP_LOOK_SECONDS
        # Only a child that the client knows of may begin: so a client that was told nothing may ask again.
        if self.tell({"event": "started", "pid": pid, "layers": sorted(self.layers)}):
            os.write(self.gate, b"g")

    def on_control(self) -> bool:
        """Takes a wish of the client's; False when it has gone, which is one too."""
        try:
            data = self.control.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self.end_for_lost_client()
            return False
        for payload in self.control_reader.feed(data):
            self.end(ExitKind.CANCELLED, str(frames.decode_message(payload)["kill"]))
        return True

    def end_for_lost_client(self) -> None:
        self.end(ExitKind.CANCELLED, "the process that started it is gone, or has let go of it")

    def on_time(self, now: float) -> None:
        if now >= self.escalate_at:
            self.escalate()
        if now >= self.deadline:
            if self.pid:
                self.end(ExitKind.TIMED_OUT, f"ran longer than its {self.task.limits.wall_seconds:g} s")
            else:
                self.end(ExitKind.LOST, f"could not be made ready within {PREPARE_SECONDS:g} s")
        if now >= self.next_look:
            self._look_at_memory(now)

    def _look_at_memory(self, now: float) -> None:
        is_over, peak = False, 0
        if self.watch is not None:
            self.next_look = now + self.watch.look()
            is_over, peak = self.watch.is_over, self.watch.peak_bytes
        elif self.group is not None:
            # The kernel may have killed a process that the child started, and the child waits for it in vain.
            self.next_look = now + _GROUP_LOOK_SECONDS
            is_over, peak = self.group.ran_out_of_memory(), self.group.peak_bytes()
        if is_over:
            self.end(ExitKind.OUT_OF_MEMORY, out_of_memory_message(peak, self.task.limits))

    def conclude(self) -> None:
        """The head has been reaped: tells the client how it ended and lets go of everything but the group."""
        self.on_verdict()
        if self.refusal is not None and not self.pid:
            layer = self.refusal.get("layer")
            text = f"the child could not be confined: {self.refusal['refused']}"
            self.tell(
                {"event": "refused", "message": text, "missing": [[layer, self.refusal["refused"]]] if layer else []}
            )
        else:
            self.tell({"event": "exit", **asdict(self._judge())})
        self.control.close()
        os.close(self.verdict)
        os.close(self.gate)
        self.report.close()
        if self.uid is not None:
            self.uid.release()

    def _judge(self) -> ChildExit:
        measured = self.group.peak_bytes() if self.group else self.watch.peak_bytes if self.watch else 0
        evidence = Evidence(
            code=self.code,
            report=_read_report(self.report),
            stop=self.stop,
            kernel_out_of_memory=self.group.ran_out_of_memory() if self.group else False,
            peak_memory_bytes=measured or self.largest_bytes,
        )
        return judge(evidence, self.task.limits)


def _read_report(report: mmap.mmap) -> dict[str, Any] | None:
    """What the child left about its end; None if that is nothing, or no report. It may hold anything."""
    reader = frames.FrameReader(MAX_REPORT_BYTES - frames.HEADER_BYTES)
    with contextlib.suppress(frames.FrameError):
        payloads = reader.feed(report[:])
        return frames.decode_message(payloads[0]) if payloads and payloads[0] else None
    return None
