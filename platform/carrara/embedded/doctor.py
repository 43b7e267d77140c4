"""What may be wrong with this machine or this data directory, and how to mend it.

Each examination answers ok, problem or unknown; what cannot be found out is never called ok.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from carrara.embedded import examinations
from carrara.embedded.examinations import CouldNotFindOut, Patient, Wrong
from carrara.embedded.layout import DataDirectory
from carrara.embedded.ports import remembered_ports
from carrara.embedded.status import StackStatus, Verdict, look
from carrara.kernel.errors import CarraraError

EXAMINATIONS: dict[str, Callable[[Patient], str]] = {
    "python": examinations.python,
    "data directory": examinations.data_directory,
    "disk": examinations.disk,
    "packages": examinations.packages,
    "ports": examinations.ports,
    "sandbox": examinations.sandbox,
    "database": examinations.database,
    "redis": examinations.redis,
    "object store": examinations.object_store,
    "mlflow": examinations.mlflow,
}


class Outcome(StrEnum):
    """UNKNOWN: could not find out."""

    OK = "ok"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """The answer of one examination; `mend` says what to do unless all is well."""

    name: str
    outcome: Outcome
    message: str
    mend: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def examine(data_dir: Path, environ: Mapping[str, str]) -> list[Finding]:
    """All findings, in the order in which to mend them. Writes only a small object, which it deletes; never raises."""
    place = DataDirectory(data_dir.absolute())
    found: StackStatus | None = None

    def processes(_: Patient) -> str:
        nonlocal found
        found = look(place.root)
        sick = [row for row in found.processes if not row.is_healthy]
        if found.verdict is Verdict.DEGRADED:
            what = "; ".join(f"{row.name} is {row.state} ({row.answer}) {row.detail}".strip() for row in sick)
            raise Wrong(what or f"the platform is {found.state}", f"look into {place.logs}")
        return f"{found.verdict.value.replace('_', ' ')} in {place.root}"

    first = _examined("processes", processes, Patient(place, environ, None, {}))
    runs = None if found is None else found.verdict is not Verdict.NOT_RUNNING
    patient = Patient(place, environ, runs, remembered_ports(place.run.ports_path))
    return [first, *(_examined(name, look_at, patient) for name, look_at in EXAMINATIONS.items())]


def _examined(name: str, look_at: Callable[[Patient], str], patient: Patient) -> Finding:
    try:
        return Finding(name, Outcome.OK, look_at(patient))
    except CouldNotFindOut as unknown:
        return Finding(name, Outcome.UNKNOWN, unknown.message, unknown.mend)
    except Wrong as wrong:
        return Finding(name, Outcome.PROBLEM, wrong.message, wrong.mend)
    except CarraraError as error:
        return Finding(name, Outcome.UNKNOWN, error.message)
    except Exception as error:  # noqa: BLE001  # a fault of one examination must not hide the others
        return Finding(name, Outcome.UNKNOWN, f"the examination itself failed: {type(error).__name__}: {error}")
