"""From the evidence to the reason."""

import signal
from typing import Any

import pytest

from carrara.sandbox.domain import ExitKind, Limits
from carrara.sandbox.exits import Evidence, Stop, judge

LIMITS = Limits(wall_seconds=10, memory_bytes=64 << 20, processes=8, file_bytes=1 << 20, cpu_seconds=5)
CANCEL = Stop(ExitKind.CANCELLED, "the user cancelled it")
RAISED: dict[str, Any] = {"kind": "raised", "message": "no", "error_type": "ValueError", "traceback": "Traceback"}


def evidence(code: int | None, **changes: Any) -> Evidence:
    settings = {"report": None, "stop": None, "kernel_out_of_memory": False, "peak_memory_bytes": 7 << 20}
    return Evidence(code=code, **{**settings, **changes})


@pytest.mark.parametrize(
    ("seen", "kind", "code", "number"),
    [
        (evidence(0, report={"kind": "finished"}), ExitKind.FINISHED, 0, None),
        (evidence(0), ExitKind.EXITED, 0, None),
        (evidence(3, report={"kind": "finished"}), ExitKind.EXITED, 3, None),
        (evidence(1, report=RAISED), ExitKind.RAISED, 1, None),
        (evidence(1, report={**RAISED, "memory_error": True}), ExitKind.OUT_OF_MEMORY, None, None),
        (evidence(5, report={"kind": "exited", "message": ""}), ExitKind.EXITED, 5, None),
        (evidence(-signal.SIGSEGV), ExitKind.KILLED, None, signal.SIGSEGV),
        (evidence(-signal.SIGKILL), ExitKind.KILLED, None, signal.SIGKILL),
        (evidence(-60), ExitKind.KILLED, None, 60),
        (evidence(-signal.SIGXCPU), ExitKind.TIMED_OUT, None, signal.SIGXCPU),
        (evidence(-signal.SIGKILL, kernel_out_of_memory=True), ExitKind.OUT_OF_MEMORY, None, None),
        (evidence(1, report=RAISED, kernel_out_of_memory=True), ExitKind.OUT_OF_MEMORY, None, None),
        (evidence(0, report={"kind": "finished"}, kernel_out_of_memory=True), ExitKind.FINISHED, 0, None),
        (evidence(-signal.SIGKILL, stop=CANCEL), ExitKind.CANCELLED, None, signal.SIGKILL),
        (evidence(None, stop=CANCEL), ExitKind.CANCELLED, None, signal.SIGKILL),
        (evidence(None), ExitKind.KILLED, None, signal.SIGKILL),
    ],
)
def test_why_a_child_ended(seen: Evidence, kind: ExitKind, code: int | None, number: int | None) -> None:
    end = judge(seen, LIMITS)

    assert (end.kind, end.code, end.signal) == (kind, code, number)
    assert end.peak_memory_bytes == 7 << 20


def test_an_end_before_our_signal_stands() -> None:
    assert judge(evidence(0, report={"kind": "finished"}, stop=CANCEL), LIMITS).kind is ExitKind.FINISHED
    assert judge(evidence(1, report=RAISED, stop=CANCEL), LIMITS).kind is ExitKind.RAISED


@pytest.mark.parametrize("report", [{}, {"kind": 7}, {"kind": "finished", "message": 4}, {"kind": ["raised"]}])
def test_a_forged_report_decides_nothing_else(report: dict[str, Any]) -> None:
    assert judge(evidence(-signal.SIGSEGV, report=report), LIMITS).kind is ExitKind.KILLED
    assert judge(evidence(9, report=report), LIMITS).kind is ExitKind.EXITED


def test_out_of_memory_keeps_what_python_said() -> None:
    report = {**RAISED, "memory_error": True, "message": "Unable to allocate 8 TiB"}

    end = judge(evidence(1, report=report), LIMITS)

    assert end.message == "out of memory: held 7 MiB at its peak, allowed are 64 MiB: Unable to allocate 8 TiB"
    assert end.traceback == "Traceback"
