"""From what was seen of a child's end to why it ended."""

import signal
from dataclasses import dataclass
from typing import Any

from carrara.sandbox.domain import ChildExit, ExitKind, Limits


@dataclass(frozen=True)
class Stop:
    """That we stopped a child, and why."""

    kind: ExitKind
    message: str


@dataclass(frozen=True)
class Evidence:
    """What is known when a child is gone.

    `code` is its exit code, or minus the signal that killed it; None when nobody was left to see it. `report` is what
    the child wrote about itself, which it may have forged: it decides only between ways to end by oneself.
    """

    code: int | None
    report: dict[str, Any] | None
    stop: Stop | None
    kernel_out_of_memory: bool
    peak_memory_bytes: int


def judge(evidence: Evidence, limits: Limits) -> ChildExit:
    """Why the child ended. An end of its own that came before our signal stands."""
    code, stop, peak = evidence.code, evidence.stop, evidence.peak_memory_bytes
    was_killed = code is None or code == -signal.SIGKILL
    if stop is not None and was_killed:
        return ChildExit(stop.kind, signal=signal.SIGKILL, peak_memory_bytes=peak, message=stop.message)
    report = evidence.report or {}
    if evidence.kernel_out_of_memory and code != 0:
        return _out_of_memory(report, limits, peak)
    if code is None:
        return ChildExit(
            ExitKind.KILLED, signal=signal.SIGKILL, peak_memory_bytes=peak, message="killed with the process above it"
        )
    if code < 0:
        return _ended_by_signal(-code, limits, peak)
    return _ended_by_itself(code, report, limits, peak)


def _ended_by_signal(number: int, limits: Limits, peak: int) -> ChildExit:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number == signal.SIGXCPU and limits.cpu_seconds is not None:
        message = f"used its {limits.cpu_seconds} s of processor time"
        return ChildExit(ExitKind.TIMED_OUT, signal=number, peak_memory_bytes=peak, message=message)
    return ChildExit(ExitKind.KILLED, signal=number, peak_memory_bytes=peak, message=f"killed by {name}, not by us")


def _ended_by_itself(code: int, report: dict[str, Any], limits: Limits, peak: int) -> ChildExit:
    kind = report.get("kind")
    if kind == "raised" and code != 0:
        if report.get("memory_error") is True:
            return _out_of_memory(report, limits, peak)
        return ChildExit(
            ExitKind.RAISED,
            code=code,
            peak_memory_bytes=peak,
            message=str(report.get("message", "")),
            traceback=str(report.get("traceback", "")),
            error_type=str(report.get("error_type", "")),
        )
    if kind == "finished" and code == 0:
        return ChildExit(ExitKind.FINISHED, code=0, peak_memory_bytes=peak)
    message = str(report.get("message", "")) if kind == "exited" else ""
    message = message or f"left with exit code {code} before its entry returned"
    return ChildExit(ExitKind.EXITED, code=code, peak_memory_bytes=peak, message=message)


def _out_of_memory(report: dict[str, Any], limits: Limits, peak: int) -> ChildExit:
    message = out_of_memory_message(peak, limits)
    if detail := str(report.get("message", "")):
        message = f"{message}: {detail}"
    return ChildExit(
        ExitKind.OUT_OF_MEMORY,
        peak_memory_bytes=peak,
        message=message,
        traceback=str(report.get("traceback", "")),
        error_type=str(report.get("error_type", "")),
    )


def out_of_memory_message(peak: int, limits: Limits) -> str:
    return f"out of memory: held {peak >> 20} MiB at its peak, allowed are {limits.memory_bytes >> 20} MiB"
