"""Takes this machine's own folders out of what a job's owner is shown: where they lie is nobody's concern."""

import sysconfig
from collections.abc import Mapping
from pathlib import Path

from carrara.contracts.jobs import JobError

_CARRARA = Path(__file__).resolve().parents[2]
_LIBRARIES = {sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
_OF_THIS_PROCESS = ((str(_CARRARA), "<carrara>"), *((path, "<python>") for path in sorted(_LIBRARIES)))


def attempt_places(place: Path) -> Mapping[str, str]:
    """Names for the folders of the attempt at `place`."""
    return {str(place / "inputs" / "code"): "<code>", str(place): "<job>"}


def without_server_paths(error: JobError, places: Mapping[str, str]) -> JobError:
    """The same error, with a name for each of `places`, for Carrara's own code and for Python's libraries."""
    known = [*places.items(), *_OF_THIS_PROCESS]
    known += [(str(Path(path).resolve()), name) for path, name in known]
    longest_first = sorted(((path, name) for path, name in known), key=lambda one: -len(one[0]))

    def shown(text: str) -> str:
        for path, name in longest_first:
            text = text.replace(f"{path}/", f"{name}/")
        return text

    facts = {key: shown(value) if isinstance(value, str) else value for key, value in error.facts.items()}
    traceback = shown(error.traceback) if error.traceback is not None else None
    return error.model_copy(update={"message": shown(error.message), "traceback": traceback, "facts": facts})
