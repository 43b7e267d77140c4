"""Which level this machine reaches, layer by layer, for `carrara doctor` and for who asks for `auto`."""

import functools
import subprocess
import sys
from pathlib import Path

import msgspec

import carrara.sandbox
from carrara.kernel.errors import Unavailable
from carrara.sandbox.domain import Capabilities, Level

_PROBE_SECONDS = 60
_CODE_ROOT = Path(carrara.sandbox.__path__[0]).parents[1]


def bootstrap_code(statement: str) -> str:
    """Python source that runs `statement` where our package can be imported, whatever the interpreter knows of it."""
    root = repr(str(_CODE_ROOT))
    return f"import sys; {root} in sys.path or sys.path.append({root}); {statement}"


@functools.cache
def detect(interpreter: str = sys.executable) -> Capabilities:
    """What can hold a child here, tried once a process in a process of its own. Unavailable if that one fails."""
    statement = "from carrara.sandbox.probe import print_probe; print_probe()"
    done = subprocess.run(
        [interpreter, "-I", "-c", bootstrap_code(statement)],
        env={},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_PROBE_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip()[-500:]
        raise Unavailable(f"the sandbox could not be probed: {reason}")
    return msgspec.json.decode(done.stdout, type=Capabilities)


def describe(capabilities: Capabilities) -> str:
    """The layers and the level for people, one line each."""
    lines = [
        f"sandbox level: {capabilities.achieved}",
        *(
            f"  {'yes' if state.available else 'no ':3} {state.layer:18} {state.detail}"
            for state in capabilities.layers
        ),
    ]
    for level in Level:
        missing = ", ".join(state.layer for state in capabilities.missing(level))
        if missing:
            lines.append(f"  for {level} this is missing: {missing}")
    if not capabilities.confined_relay:
        lines.append(
            "  confined code cannot reach the platform (no network namespace): jobs that ask for it are refused"
        )
    return "\n".join(lines)
