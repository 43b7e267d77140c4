"""The single examinations of `carrara doctor`. Each gives a sentence if all is well, or raises what it found.

What they look at is imported inside: a broken part must not keep the doctor from starting.
"""

import asyncio
import importlib
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from carrara.embedded.layout import NEEDED_BYTES, DataDirectory, free_bytes
from carrara.embedded.mlflow_server import SECRET_HEADER
from carrara.embedded.ports import holder_of, is_free
from carrara.embedded.postgres_cluster import OWNER_ROLE, sqlalchemy_url
from carrara.embedded.postgres_places import installed_package
from carrara.embedded.probes import Probe, answers
from carrara.embedded.valkey import valkey_binary
from carrara.kernel.errors import CarraraError
from carrara.processes import ProbeKind

_OLDEST, _TOO_NEW = (3, 11), (3, 14)
_COMFORTABLE_BYTES = 5 << 30
_START_IT = "start it with `carrara up`"
_PATIENCE_SECONDS = 5.0


class Wrong(Exception):  # noqa: N818  # a finding, not a fault of ours
    """Something is wrong, and `mend` says what to do."""

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(message)
        self.message, self.mend = message, mend


class CouldNotFindOut(Wrong):
    """Neither well nor wrong is known."""


@dataclass(frozen=True)
class Patient:
    """What is examined. `runs` is None if it could not be found out whether `carrara up` runs there."""

    place: DataDirectory
    environ: Mapping[str, str]
    runs: bool | None
    ports: Mapping[str, int]

    def secret(self, name: str) -> str:
        return (self.place.secrets / name).read_text().strip()

    def require_running(self, name: str) -> int:
        """The port of an embedded server; CouldNotFindOut if it does not run now."""
        if not self.runs or name not in self.ports:
            why = "is not running" if self.runs is False else "may or may not run"
            raise CouldNotFindOut(f"the platform of {self.place.root} {why}", _START_IT)
        return self.ports[name]


def python(patient: Patient) -> str:
    del patient
    text = ".".join(str(part) for part in sys.version_info[:3])
    if not _OLDEST <= sys.version_info[:2] < _TOO_NEW:
        raise Wrong(f"Python {text}", "use Python 3.11, 3.12 or 3.13")
    return f"Python {text} at {sys.executable}"


def data_directory(patient: Patient) -> str:
    root = patient.place.root
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        raise Wrong(f"cannot write in {existing}", "choose another place with --data-dir, or mend its owner or mode")
    return f"{root}{'' if root == existing else ' (will be made)'}"


def disk(patient: Patient) -> str:
    root = patient.place.root
    free = free_bytes(next(folder for folder in (root, *root.parents) if folder.exists()))
    text = f"{free / (1 << 30):.1f} GB free"
    if free < NEEDED_BYTES:
        raise Wrong(f"disk full: {text}", "make room, or move the data directory to another disk")
    if free < _COMFORTABLE_BYTES:
        raise Wrong(f"only {text}", "make room: snapshots, models and prediction logs will fill it soon")
    return text


def packages(patient: Patient) -> str:
    try:
        servers = []
        if not patient.environ.get("CARRARA_DATABASE_URL"):
            installed_package()
            servers.append("PostgreSQL")
        if not patient.environ.get("CARRARA_REDIS_URL"):
            valkey_binary()
            servers.append("Valkey")
    except CarraraError as error:
        what, _, mend = error.message.partition(": ")
        raise Wrong(what, mend) from error
    return f"binaries of {' and '.join(servers)} are installed" if servers else "no embedded server is needed"


def ports(patient: Patient) -> str:
    if patient.runs:
        return ", ".join(f"{name} {port}" for name, port in patient.ports.items())
    wanted = {name: patient.ports.get(name) or default for name, default in (("platform", 8080), ("serving", 8081))}
    for name, port in wanted.items():
        if not is_free(port):
            held = holder_of(port) or "another process (whose, the system does not tell us)"
            mend = f"free it, or choose another with {'--port' if name == 'platform' else '--serving-port'}"
            if name in patient.ports:
                raise Wrong(f"port {port} of {name} is taken by {held}", mend)
            raise CouldNotFindOut(f"port {port} is taken by {held}: {name} will get another", mend)
    return f"free: {', '.join(str(port) for port in wanted.values())}"


def sandbox(patient: Patient) -> str:
    del patient
    try:
        levels = importlib.import_module("carrara.sandbox.levels")
    except ImportError as error:
        raise CouldNotFindOut(f"the sandbox cannot be loaded: {error}", "reinstall carrara") from error
    capabilities = levels.detect()
    described = str(levels.describe(capabilities))
    if str(capabilities.achieved) == "none":
        raise Wrong(described, "run as root, or allow user namespaces: see docs/operations/confinement.md")
    return described


def database(patient: Patient) -> str:
    url = patient.environ.get("CARRARA_DATABASE_URL")
    if not url:
        port = patient.require_running("postgres")
        url = sqlalchemy_url(OWNER_ROLE, patient.secret("postgres-carrara"), port, OWNER_ROLE)
    migrations = importlib.import_module("carrara.persistence.migrations")
    operational = importlib.import_module("sqlalchemy.exc").OperationalError
    try:
        found, wanted = migrations.current_and_head(url)
    except operational as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise Wrong(f"does not answer: {reason}", "is it running, and is CARRARA_DATABASE_URL right?") from error
    if found != wanted:
        raise Wrong(f"its schema is {found or 'empty'}, this version needs {wanted}", "run `carrara migrate`")
    return f"answers, schema {found}"


def redis(patient: Patient) -> str:
    url = patient.environ.get("CARRARA_REDIS_URL")
    if url:
        client = importlib.import_module("redis")
        try:
            with client.Redis.from_url(url, socket_timeout=_PATIENCE_SECONDS) as connection:
                connection.ping()
        except client.RedisError as error:
            raise Wrong(f"does not answer: {error}", "is it running, and is CARRARA_REDIS_URL right?") from error
        return "answers"
    probe = Probe(ProbeKind.REDIS, patient.require_running("valkey"), secret_name="valkey")  # noqa: S106  # a file name
    if not asyncio.run(answers(probe, patient.place.secrets)):
        raise Wrong("Valkey does not answer", f"look into {patient.place.logs / 'valkey.log'}")
    return "Valkey answers"


def object_store(patient: Patient) -> str:
    setting = patient.environ.get("CARRARA_OBJECT_STORE") or str(patient.place.objects)
    if "://" not in setting and not patient.place.root.exists():
        raise CouldNotFindOut(f"{setting} is not there yet", _START_IT)
    store = importlib.import_module("carrara.storage.factory").open_store(
        setting, s3_endpoint_url=patient.environ.get("CARRARA_S3_ENDPOINT_URL")
    )
    try:
        store.check()
    except CarraraError as error:
        raise Wrong(error.message, "see CARRARA_OBJECT_STORE in docs/reference/settings.md") from error
    return f"{setting} can be written and read"


def mlflow(patient: Patient) -> str:
    url, secret = patient.environ.get("CARRARA_MLFLOW_URL"), patient.environ.get("CARRARA_MLFLOW_SECRET", "")
    if not url:
        url, secret = f"http://127.0.0.1:{patient.require_running('mlflow')}", patient.secret("mlflow")
    request = urllib.request.Request(f"{url.rstrip('/')}/health", headers={SECRET_HEADER: secret})  # noqa: S310  # the operator's own setting
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS):  # noqa: S310  # as above
            return f"answers at {url}"
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise Wrong(f"{url} does not answer: {error}", "is it running, and is CARRARA_MLFLOW_URL right?") from error
