"""Every process of the platform, once. `carrara up`, the systemd units, compose and the Helm chart are made from it."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

SECRETS = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "CARRARA_DATABASE_URL",
        "CARRARA_MLFLOW_DATABASE_URL",
        "CARRARA_MLFLOW_SECRET",
        "CARRARA_REDIS_URL",
        "CARRARA_SERVING_SECRET",
    }
)
_SECRET_ENDINGS = ("_KEY", "_PASSWORD", "_SECRET", "_TOKEN")
_ORDINARY = frozenset(
    {
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "HOME",
        "LANG",
        "LC_ALL",
        "LD_LIBRARY_PATH",  # some interpreters find their own library by it
        "LOGNAME",
        "PATH",
        "PYTHONPATH",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TMPDIR",
        "TZ",
        "USER",
    }
)
ALWAYS = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OMP_WAIT_POLICY": "PASSIVE",  # or four parallel fits on two cores take 12 s instead of 0.1
    "PYTHONSAFEPATH": "1",  # what lies in the current folder is not ours to import
    "PYTHONUNBUFFERED": "1",
}
_S3 = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


class ProbeKind(StrEnum):
    """How we learn that a process is ready. HEARTBEAT: it has touched its file a short while ago.
    RUNS: by nothing better than that it has not ended for a second."""

    HTTP = "http"
    POSTGRES = "postgres"
    REDIS = "redis"
    HEARTBEAT = "heartbeat"
    RUNS = "runs"
    FINISHES = "finishes"


@dataclass(frozen=True)
class ProcessSpec:
    """One process: its command in an installed environment, what it may see, and how it starts, shows and stops.

    `sees` names secrets; what is no secret everybody may see. `port_variable` holds the port that it listens on.
    `replaced_by` is the variable that makes an embedded server needless. `waits_itself`: it may start before what it
    depends on is ready, since it waits for that itself; it is still stopped first. `confines` others' code in children,
    for which it makes namespaces: what starts it must not forbid that.
    """

    name: str
    argv: tuple[str, ...]
    probe: ProbeKind = ProbeKind.RUNS
    probe_path: str = "/healthz"
    port_variable: str | None = None
    sees: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    waits_itself: bool = False
    replaced_by: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    drain_seconds: float = 10.0
    confines: bool = False

    @property
    def runs_once(self) -> bool:
        return self.probe is ProbeKind.FINISHES


PROCESSES = (
    ProcessSpec(
        name="postgres",
        argv=("postgres",),
        probe=ProbeKind.POSTGRES,
        port_variable="CARRARA_POSTGRES_PORT",
        replaced_by="CARRARA_DATABASE_URL",
        stop_signal=signal.SIGINT,  # fast shutdown; SIGTERM would wait for every client to leave
        death_signal=signal.SIGINT,
    ),
    ProcessSpec(
        name="valkey",
        argv=("valkey-server",),
        probe=ProbeKind.REDIS,
        port_variable="CARRARA_VALKEY_PORT",
        replaced_by="CARRARA_REDIS_URL",
        death_signal=signal.SIGTERM,
    ),
    ProcessSpec(
        name="mlflow",
        argv=("python", "-m", "carrara.embedded.mlflow_app"),
        probe=ProbeKind.HTTP,
        probe_path="/health",
        port_variable="CARRARA_MLFLOW_PORT",
        sees=("CARRARA_MLFLOW_DATABASE_URL", "CARRARA_MLFLOW_SECRET", *_S3),
        depends_on=("postgres",),
        waits_itself=True,  # it imports for seven seconds before it looks at its database
        replaced_by="CARRARA_MLFLOW_URL",
    ),
    ProcessSpec(
        name="migrate",
        argv=("carrara", "migrate"),
        probe=ProbeKind.FINISHES,
        sees=("CARRARA_DATABASE_URL",),
        depends_on=("postgres",),
    ),
    ProcessSpec(
        name="platform",
        argv=("carrara", "platform"),
        probe=ProbeKind.HTTP,
        port_variable="CARRARA_PLATFORM_PORT",
        sees=(
            "CARRARA_DATABASE_URL",
            "CARRARA_REDIS_URL",
            "CARRARA_MLFLOW_SECRET",
            "CARRARA_SERVING_SECRET",
            *_S3,
        ),
        depends_on=("migrate", "valkey"),
        drain_seconds=30.0,
    ),
    ProcessSpec(
        name="controller",
        argv=("carrara", "controller"),
        probe=ProbeKind.HEARTBEAT,
        sees=("CARRARA_DATABASE_URL", "CARRARA_REDIS_URL", "CARRARA_MLFLOW_SECRET", *_S3),
        depends_on=("migrate", "valkey"),
    ),
    ProcessSpec(
        name="worker",
        argv=("carrara", "worker"),
        probe=ProbeKind.HEARTBEAT,
        sees=("CARRARA_DATABASE_URL", "CARRARA_REDIS_URL", "CARRARA_MLFLOW_SECRET", *_S3),
        depends_on=("migrate", "valkey"),
        drain_seconds=30.0,
        confines=True,
    ),
    ProcessSpec(
        name="serving",
        argv=("carrara", "serving"),
        probe=ProbeKind.HTTP,
        port_variable="CARRARA_SERVING_PORT",
        sees=("CARRARA_SERVING_SECRET", *_S3),  # no database, by design
        drain_seconds=30.0,
        confines=True,
    ),
)


def environment_for(spec: ProcessSpec, everything: Mapping[str, str]) -> dict[str, str]:
    """Of `everything`, what this process may see: ordinary variables, our settings, and the secrets it names."""
    return {key: value for key, value in everything.items() if _may_see(spec, key)}


def _may_see(spec: ProcessSpec, key: str) -> bool:
    if key in SECRETS or (key.startswith("CARRARA_") and key.endswith(_SECRET_ENDINGS)):
        return key in spec.sees
    return key in _ORDINARY or key.startswith("CARRARA_")
