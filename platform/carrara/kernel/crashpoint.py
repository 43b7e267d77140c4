"""Places where a test may kill the process: one after every durable step. Off unless CARRARA_CRASHPOINT names one."""

import os
import signal


def crashpoint(name: str) -> None:
    """Die by SIGKILL here if the environment asks for it. `name` is `<walk>.<step>`, unique in the code."""
    if os.environ.get("CARRARA_CRASHPOINT") == name:
        os.kill(os.getpid(), signal.SIGKILL)
