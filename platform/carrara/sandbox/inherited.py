"""What a forked child must renew, since it was made for the forkserver."""

import atexit
import contextlib
import gc
import signal
import sys
from pathlib import Path


def renew_signals() -> None:
    """The signal handling of a fresh interpreter."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def renew_libraries() -> None:
    """Exit hooks, random state and worker pools of libraries that the forkserver has imported."""
    atexit._clear()
    gc.enable()
    if (random := sys.modules.get("numpy.random")) is not None:
        random.seed()  # else all children draw the same numbers
    if (joblib := sys.modules.get("joblib")) is not None:
        # Its default workers are new programs, which a confined child may not start. Threads answer to the same name.
        with contextlib.suppress(AttributeError):
            joblib.register_parallel_backend("loky", joblib._parallel_backends.ThreadingBackend)


def prepare_libraries() -> None:
    """In the forkserver: what libraries would find out by running a program, which a confined child may not."""
    if (loky := sys.modules.get("joblib.externals.loky.backend.context")) is not None and _physical_cores():
        loky.physical_cores_cache = _physical_cores()  # type: ignore[attr-defined]  # else it runs lscpu, then warns


def _physical_cores() -> int:
    """Processor cores, each counted once however many threads it has; 0 if the kernel does not say."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = [line.split(":")[-1].strip() for line in text.splitlines() if line.startswith(("physical id", "core id"))]
    return len(set(zip(fields[::2], fields[1::2], strict=False)))


def renew_streams() -> None:
    """Lines go out as they are written: the other end streams them."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a TextIO that is a TextIOWrapper
