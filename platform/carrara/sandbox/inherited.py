"""What a forked child must renew, since it was made for the forkserver."""

import atexit
import contextlib
import gc
import signal
import sys


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


def renew_streams() -> None:
    """Lines go out as they are written: the other end streams them."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a TextIO that is a TextIOWrapper
