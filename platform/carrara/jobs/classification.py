"""Why an attempt ended badly, in words a user can act on, and whose fault it was."""

import signal as signals
import traceback as tracebacks
from collections.abc import Mapping
from typing import Any

from carrara.contracts.jobs import ErrorClass, JobError
from carrara.jobs.jsonable import shown_json
from carrara.kernel.errors import CarraraError, Conflict, Invalid, NotFound, Refused, TooLarge, Unavailable
from carrara.sandbox.domain import ChildExit, ExitKind, Limits
from carrara.storage.disk import disk_error

_OF_THE_INPUT = (Invalid, NotFound, Conflict, Refused, TooLarge)
_DISK_FULL = ("[Errno 28]", "[Errno 122]")
_MAX_TRACEBACK = 20_000
_MIB = 1 << 20


def error_of_exit(
    ended: ChildExit, limits: Limits, told: Mapping[str, Any] | None, *, has_result: bool
) -> JobError | None:
    """The error behind a child's end, or None if it finished with its one result.

    `told` is the `user_error` event, if the child sent one: it knows best what was wrong with its input.
    """
    if told is not None and ended.kind in (ExitKind.FINISHED, ExitKind.RAISED, ExitKind.EXITED):
        return _user(str(told.get("reason", "user_error")), str(told.get("message", "")), ended, told.get("facts"))
    if ended.kind is ExitKind.FINISHED:
        return None if has_result else _user("no_result", "the code ended without giving a result", ended)
    return _OF_KIND[ended.kind](ended, limits)


def error_of_exception(error: Exception) -> JobError:
    """The error of a step outside the child: bringing inputs, publishing outputs, recording the outcome."""
    if isinstance(error, CarraraError):
        of_input = isinstance(error, _OF_THE_INPUT) and error.code != "sandbox_refused"
        facts: dict[str, Any] = shown_json(error.facts)
        if isinstance(error, Invalid) and error.issues:
            facts["issues"] = [{"where": issue.where, "message": issue.message} for issue in error.issues]
        return JobError(
            error_class=ErrorClass.USER if of_input else ErrorClass.SYSTEM,
            reason=error.code,
            message=error.message,
            facts=facts,
        )
    if isinstance(error, OSError):
        return error_of_exception(disk_error(error, "working in the job's folder"))
    shown = "".join(tracebacks.format_exception(error))[-_MAX_TRACEBACK:]
    return JobError(
        error_class=ErrorClass.SYSTEM,
        reason="internal",
        message=f"a fault of Carrara's, not of the job: {type(error).__name__}: {error}",
        traceback=shown,
    )


def error_of_disk(complaint: str, limit_bytes: int) -> JobError:
    """The error of an attempt that was ended for what it wrote."""
    message = f"the job was ended: {complaint}; at most {limit_bytes} bytes of files are kept while it runs"
    return JobError(
        error_class=ErrorClass.USER, reason="disk_limit", message=message, facts={"limit_bytes": limit_bytes}
    )


def least_pause_of(error: Exception) -> float:
    """Seconds that whatever was away asked us to wait."""
    return float(error.retry_after_seconds) if isinstance(error, Unavailable) else 0.0


def _raised(ended: ChildExit, _: Limits) -> JobError:
    if ended.error_type.endswith("OSError") and any(number in ended.message for number in _DISK_FULL):
        return _system("disk_full", f"disk full in the job's folder: {ended.message}. Free space there, then retry")
    kind = ended.error_type.rpartition(".")[2]
    return _user("raised", f"the code raised {kind}: {ended.message}" if kind else ended.message, ended)


def _exited(ended: ChildExit, _: Limits) -> JobError:
    return _user("exited", f"the code called exit with status {ended.code} before it gave a result", ended)


def _killed(ended: ChildExit, _: Limits) -> JobError:
    name = _signal_name(ended.signal)
    facts = {"signal": name, "peak_memory_bytes": ended.peak_memory_bytes}
    if ended.signal in _CRASHES:
        message = f"the code crashed with {name}: a fault in a compiled library, or in how it is called"
        return JobError(error_class=ErrorClass.USER, reason="crashed", message=message, facts=facts)
    return _system("worker_killed", f"the job's process was killed by {name}, not by us", **facts)


def _out_of_memory(ended: ChildExit, limits: Limits) -> JobError:
    peak, limit = ended.peak_memory_bytes, limits.memory_bytes
    message = (
        f"the job needed more than its {limit // _MIB} MiB of memory (peak {peak // _MIB} MiB);"
        " use fewer rows or columns, a smaller model, or ask for more memory"
    )
    return _user("out_of_memory", message, ended, {"peak_memory_bytes": peak, "limit_bytes": limit})


def _timed_out(ended: ChildExit, limits: Limits) -> JobError:
    message = f"the job {ended.message or 'ran too long'}; make it smaller, or ask for more time"
    return _user("timed_out", message, ended, {"limit_seconds": limits.wall_seconds})


def _cancelled(_: ChildExit, __: Limits) -> JobError:
    return _system("interrupted", "the job's process was ended before it was done")


def _lost(ended: ChildExit, _: Limits) -> JobError:
    return _system("sandbox_lost", f"the process that holds the jobs of this worker ended: {ended.message}")


_CRASHES = (signals.SIGSEGV, signals.SIGBUS, signals.SIGILL, signals.SIGFPE, signals.SIGABRT, signals.SIGSYS)
_OF_KIND = {
    ExitKind.RAISED: _raised,
    ExitKind.EXITED: _exited,
    ExitKind.KILLED: _killed,
    ExitKind.OUT_OF_MEMORY: _out_of_memory,
    ExitKind.TIMED_OUT: _timed_out,
    ExitKind.CANCELLED: _cancelled,
    ExitKind.LOST: _lost,
}


def _user(reason: str, message: str, ended: ChildExit, facts: Mapping[str, Any] | None = None) -> JobError:
    return JobError(
        error_class=ErrorClass.USER,
        reason=reason,
        message=message,
        traceback=ended.traceback[-_MAX_TRACEBACK:] or None,
        facts=dict(facts or {}),
    )


def _system(reason: str, message: str, **facts: Any) -> JobError:
    return JobError(error_class=ErrorClass.SYSTEM, reason=reason, message=message, facts=facts)


def _signal_name(number: int | None) -> str:
    try:
        return signals.Signals(number or 0).name
    except ValueError:
        return f"signal {number}"
