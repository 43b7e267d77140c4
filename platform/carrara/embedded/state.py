"""What a data directory knows of its supervisor: a lock that ends with it, and a file that says what it started."""

import contextlib
import fcntl
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from carrara.embedded.children import Identity
from carrara.embedded.probes import Probe, probe_from_json
from carrara.kernel.errors import Conflict, Unavailable

_VERSION = 1
_GLANCE_SECONDS = 0.5  # `is_locked` of another process holds the lock for an instant


@dataclass(frozen=True)
class ProcessRecord:
    """One process as the supervisor last saw it. `since` is seconds since the epoch, of the state."""

    name: str
    state: str
    since: float
    probe: Probe
    identity: Identity | None = None
    restarts: int = 0
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class StackRecord:
    """One run of `carrara up`. `state` is starting, ready, stopping or stopped."""

    state: str
    supervisor: Identity
    started_at: float
    urls: Mapping[str, str] = field(default_factory=dict)
    processes: tuple[ProcessRecord, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"version": _VERSION, **asdict(self)}


class RunFiles:
    """The files below `DATA_DIR/run`."""

    def __init__(self, data_dir: Path) -> None:
        self.directory = data_dir / "run"
        self.state_path = self.directory / "state.json"
        self.ports_path = self.directory / "ports.json"
        self._lock_path = self.directory / "lock"

    def read(self) -> StackRecord | None:
        """The last run, or None if there never was one. Unavailable if the file is there and cannot be read."""
        try:
            return _from_json(json.loads(self.state_path.read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"cannot read {self.state_path}: {error}", path=str(self.state_path)) from error

    def write(self, record: StackRecord) -> None:
        draft = self.state_path.with_suffix(".draft")
        draft.write_text(json.dumps(record.to_json(), indent=1) + "\n")
        draft.rename(self.state_path)

    def is_locked(self) -> bool:
        """Whether a supervisor lives. Unavailable if that cannot be found out."""
        try:
            with self._lock_path.open("r") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return True
                return False
        except FileNotFoundError:
            return False
        except OSError as error:
            raise Unavailable(f"cannot look at {self._lock_path}: {error.strerror}") from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock. The kernel lets go of it when we end, however we end, so it is never stale.

        Conflict with the process id and the URLs of the one that holds it.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock_path.open("a") as lock:
            deadline = time.monotonic() + _GLANCE_SECONDS
            while not _try_lock(lock):
                if time.monotonic() > deadline:
                    raise self._already_running()
                time.sleep(0.02)
            yield

    def _already_running(self) -> Conflict:
        record = self.read()
        pid = record.supervisor.pid if record else None
        urls = dict(record.urls) if record else {}
        shown = ", ".join(f"{name} {url}" for name, url in urls.items())
        return Conflict(
            f"the platform of {self.directory.parent} is already running"
            + (f" (process {pid}, {record.state if record else ''}): {shown or 'no URL yet'}" if pid else "")
            + ". `carrara status` looks at it, `carrara down` stops it",
            code="already_running",
            pid=pid,
            urls=urls,
        )


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _from_json(data: Mapping[str, Any]) -> StackRecord:
    if data["version"] != _VERSION:
        raise ValueError(f"version {data['version']}, expected {_VERSION}")
    processes = tuple(
        ProcessRecord(
            name=row["name"],
            state=row["state"],
            since=row["since"],
            probe=probe_from_json(row["probe"]),
            identity=Identity(**row["identity"]) if row["identity"] else None,
            restarts=row["restarts"],
            detail=row["detail"],
        )
        for row in data["processes"]
    )
    return StackRecord(data["state"], Identity(**data["supervisor"]), data["started_at"], data["urls"], processes)
