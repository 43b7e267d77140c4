"""Whose fault a bad end was, and what the user is told."""

import signal
from typing import Any

import pytest

from carrara.contracts.jobs import ErrorClass
from carrara.jobs.classification import error_of_exception, error_of_exit, least_pause_of
from carrara.kernel.errors import Corrupted, Invalid, Issue, NotFound, Refused, Unavailable
from carrara.sandbox.domain import ChildExit, ExitKind, Limits

LIMITS = Limits(wall_seconds=60, memory_bytes=512 << 20, processes=64, file_bytes=1 << 30)
USER, SYSTEM = ErrorClass.USER, ErrorClass.SYSTEM


@pytest.mark.parametrize(
    ("ended", "error_class", "reason", "says"),
    [
        (ChildExit(ExitKind.RAISED, error_type="ValueError", message="bad"), USER, "raised", "ValueError: bad"),
        (
            ChildExit(ExitKind.RAISED, error_type="OSError", message="[Errno 28] No space left on device"),
            SYSTEM,
            "disk_full",
            "disk full",
        ),
        (ChildExit(ExitKind.EXITED, code=3), USER, "exited", "status 3"),
        (ChildExit(ExitKind.KILLED, signal=signal.SIGKILL), SYSTEM, "worker_killed", "SIGKILL"),
        (ChildExit(ExitKind.KILLED, signal=signal.SIGSEGV), USER, "crashed", "SIGSEGV"),
        (ChildExit(ExitKind.KILLED, signal=64), SYSTEM, "worker_killed", "SIGRTMAX"),
        (ChildExit(ExitKind.KILLED, signal=None), SYSTEM, "worker_killed", "signal"),
        (ChildExit(ExitKind.OUT_OF_MEMORY, peak_memory_bytes=600 << 20), USER, "out_of_memory", "peak 600 MiB"),
        (ChildExit(ExitKind.TIMED_OUT, message="ran longer than its 60 s"), USER, "timed_out", "60 s"),
        (ChildExit(ExitKind.CANCELLED), SYSTEM, "interrupted", "ended before"),
        (ChildExit(ExitKind.LOST, message="gone"), SYSTEM, "sandbox_lost", "gone"),
        (ChildExit(ExitKind.FINISHED, code=0), USER, "no_result", "without giving a result"),
    ],
)
def test_each_end_of_a_child_has_its_class_and_reason(
    ended: ChildExit, error_class: ErrorClass, reason: str, says: str
) -> None:
    error = error_of_exit(ended, LIMITS, None, has_result=False)
    assert error is not None
    assert (error.error_class, error.reason) == (error_class, reason)
    assert says in error.message


def test_every_kind_of_exit_is_classified() -> None:
    for kind in ExitKind:
        assert error_of_exit(ChildExit(kind), LIMITS, None, has_result=False) is not None


def test_a_finished_child_with_a_result_has_no_error() -> None:
    assert error_of_exit(ChildExit(ExitKind.FINISHED, code=0), LIMITS, None, has_result=True) is None


def test_out_of_memory_tells_peak_and_limit() -> None:
    error = error_of_exit(ChildExit(ExitKind.OUT_OF_MEMORY, peak_memory_bytes=5), LIMITS, None, has_result=False)
    assert error is not None
    assert error.facts == {"peak_memory_bytes": 5, "limit_bytes": 512 << 20}


@pytest.mark.parametrize("kind", [ExitKind.FINISHED, ExitKind.RAISED, ExitKind.EXITED])
def test_what_the_child_told_of_its_input_comes_first(kind: ExitKind) -> None:
    told = {"reason": "constant_target", "message": "the target never changes", "facts": {"column": "delay"}}
    error = error_of_exit(ChildExit(kind), LIMITS, told, has_result=True)
    assert error is not None
    assert (error.error_class, error.reason, error.facts) == (USER, "constant_target", {"column": "delay"})


def test_a_child_that_was_killed_cannot_blame_its_input() -> None:
    told = {"reason": "constant_target", "message": "x"}
    error = error_of_exit(ChildExit(ExitKind.KILLED, signal=signal.SIGKILL), LIMITS, told, has_result=False)
    assert error is not None
    assert error.reason == "worker_killed"


@pytest.mark.parametrize(
    ("raised", "error_class", "reason"),
    [
        (Invalid("bad spec", issues=[Issue("spec.target", "is missing")]), USER, "invalid"),
        (NotFound("snapshot", number=3), USER, "not_found"),
        (Refused("no", code="sandbox_refused"), SYSTEM, "sandbox_refused"),
        (Unavailable("the store is away"), SYSTEM, "unavailable"),
        (Unavailable("disk full", code="disk_full"), SYSTEM, "disk_full"),
        (Corrupted("changed", expected="a"), SYSTEM, "digest_mismatch"),
        (OSError(28, "No space left on device"), SYSTEM, "disk_full"),
        (OSError(5, "Input/output error"), SYSTEM, "disk_error"),
        (KeyError("oops"), SYSTEM, "internal"),
    ],
)
def test_each_error_of_a_step_has_its_class_and_reason(raised: Exception, error_class: ErrorClass, reason: str) -> None:
    error = error_of_exception(raised)
    assert (error.error_class, error.reason) == (error_class, reason)


def test_the_faults_of_an_input_are_named() -> None:
    error = error_of_exception(Invalid("bad", issues=[Issue("spec.target", "is missing")]))
    assert error.facts["issues"] == [{"where": "spec.target", "message": "is missing"}]


def test_odd_facts_do_not_prevent_the_error_from_being_told() -> None:
    odd: dict[str, Any] = {"value": float("nan"), "kind": {1, 2}, "text": "nul \x00"}
    error = error_of_exception(Unavailable("away", **odd))
    assert error.facts == {"value": "nan", "kind": "{1, 2}", "text": "nul \ufffd"}


def test_only_what_is_away_asks_for_a_pause() -> None:
    assert least_pause_of(Unavailable("away", retry_after_seconds=7)) == 7
    assert least_pause_of(ValueError()) == 0
