"""What `carrara up` has to run: which servers are ours, at which ports, and what each process gets to see."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from carrara.embedded.child import ChildPlan
from carrara.embedded.layout import DataDirectory
from carrara.embedded.ports import PortWish, choose_ports
from carrara.embedded.postgres_cluster import Cluster, cluster_in, make_cluster, sqlalchemy_url, stop_leftovers
from carrara.embedded.probes import Probe
from carrara.embedded.secrets import kept_secret
from carrara.embedded.valkey import set_broken_data_aside, valkey_binary, write_configuration
from carrara.kernel import heartbeat
from carrara.kernel.errors import Invalid
from carrara.processes import ALWAYS, ProbeKind, ProcessSpec, environment_for

_LOOPBACK = "127.0.0.1"
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  # what a user may have set
_PROBE_SECRETS = {"valkey": "valkey", "mlflow": "mlflow"}


@dataclass(frozen=True)
class StackPlan:
    """Everything that the supervisor needs, and sentences that the user should read."""

    children: tuple[ChildPlan, ...]
    urls: Mapping[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class AskedPorts:
    """What the command line asked for."""

    platform: int | None = None
    serving: int | None = None


def plan_stack(
    place: DataDirectory,
    asked: AskedPorts,
    environ: Mapping[str, str],
    *,
    specs: Sequence[ProcessSpec],
    say: Callable[[str], None],
) -> StackPlan:
    """Chooses ports, makes secrets and decides which servers are ours. Nothing is started yet.

    `say` gets what happens later, before a child is started. Invalid or Conflict if it cannot work as it is set.
    """
    specs = [spec for spec in specs if not (spec.replaced_by and environ.get(spec.replaced_by))]
    _check_mlflow_database(specs, environ)
    ports, notes = choose_ports(_wishes(specs, asked, environ), place.run.ports_path)
    cluster = cluster_in(place.postgres, place.secrets) if "postgres" in ports else None
    values = dict(environ) | _values(place, ports, cluster, environ)
    if cluster and cluster.data.parent != place.postgres:
        notes.append(f"the account of PostgreSQL cannot reach {place.root}, so its data is in {cluster.data.parent}")
    children = tuple(
        ChildPlan(
            spec=spec,
            argv=_argv(spec, place, ports, cluster, say),
            environment=_environment(spec, place, cluster, values),
            log_path=place.logs / f"{spec.name}.log",
            probe=_probe(spec, place, ports, values),
            account=cluster.places.account if cluster and spec.name == "postgres" else None,
        )
        for spec in specs
    )
    urls = {"platform": values["CARRARA_PLATFORM_URL"], "serving": values["CARRARA_SERVING_URL"]}
    return StackPlan(children, urls, tuple(notes))


def _wishes(specs: list[ProcessSpec], asked: AskedPorts, environ: Mapping[str, str]) -> tuple[PortWish, ...]:
    flags = {"platform": ("--port", asked.platform, 8080), "serving": ("--serving-port", asked.serving, 8081)}
    wishes = []
    for spec in specs:
        if spec.port_variable is None:
            continue
        flag, given, preferred = flags.get(spec.name, (None, None, None))
        if given is None and environ.get(spec.port_variable):
            given = _number(spec.port_variable, environ[spec.port_variable])
        wishes.append(PortWish(spec.name, spec.port_variable, flag, given, preferred))
    return tuple(sorted(wishes, key=lambda wish: wish.asked is None))  # so that nobody takes what was asked for


def _values(
    place: DataDirectory, ports: Mapping[str, int], cluster: Cluster | None, environ: Mapping[str, str]
) -> dict[str, str]:
    """The settings of all processes; what the user has set stays, except that paths become absolute."""
    store = environ.get("CARRARA_OBJECT_STORE") or str(place.objects)
    if "://" not in store:
        store = str(Path(store).absolute())
    values = {
        "CARRARA_DATA_DIR": str(place.root),
        "CARRARA_OBJECT_STORE": store,
        "CARRARA_SERVING_SECRET": environ.get("CARRARA_SERVING_SECRET") or kept_secret(place.secrets, "serving"),
    }
    for name in ("platform", "serving"):
        port = ports[name]
        values[f"CARRARA_{name.upper()}_PORT"] = str(port)
        url = environ.get(f"CARRARA_{name.upper()}_URL") or f"http://{_LOOPBACK}:{port}"
        values[f"CARRARA_{name.upper()}_URL"] = url
    if cluster is not None:
        passwords = {login.name: login.password for login in cluster.logins}
        for name, variable in (("carrara", "CARRARA_DATABASE_URL"), ("mlflow", "CARRARA_MLFLOW_DATABASE_URL")):
            values[variable] = sqlalchemy_url(name, passwords[name], ports["postgres"], name)
        if environ.get("CARRARA_MLFLOW_DATABASE_URL"):
            values["CARRARA_MLFLOW_DATABASE_URL"] = environ["CARRARA_MLFLOW_DATABASE_URL"]
    if "valkey" in ports:
        values["CARRARA_REDIS_URL"] = f"redis://:{kept_secret(place.secrets, 'valkey')}@127.0.0.1:{ports['valkey']}/0"
    if "mlflow" in ports:
        values |= {
            "CARRARA_MLFLOW_URL": f"http://127.0.0.1:{ports['mlflow']}",
            "CARRARA_MLFLOW_PORT": str(ports["mlflow"]),
            "CARRARA_MLFLOW_SECRET": kept_secret(place.secrets, "mlflow"),
            "CARRARA_MLFLOW_ARTIFACTS": f"{store.rstrip('/')}/mlflow",
        }
    return values


def _environment(
    spec: ProcessSpec, place: DataDirectory, cluster: Cluster | None, values: Mapping[str, str]
) -> dict[str, str]:
    if cluster and spec.name == "postgres":
        return cluster.environment
    beats = {heartbeat.VARIABLE: str(place.heartbeat(spec.name))} if spec.probe is ProbeKind.HEARTBEAT else {}
    return environment_for(spec, values) | ALWAYS | beats


def _probe(spec: ProcessSpec, place: DataDirectory, ports: Mapping[str, int], values: Mapping[str, str]) -> Probe:
    host = values.get(f"CARRARA_{spec.name.upper()}_HOST") or _LOOPBACK
    return Probe(
        host=_LOOPBACK if host in _EVERYWHERE else host,
        kind=spec.probe,
        port=ports.get(spec.name, 0),
        path=spec.probe_path if spec.probe is ProbeKind.HTTP else "",
        secret_name=_PROBE_SECRETS.get(spec.name),
        heartbeat=str(place.heartbeat(spec.name)) if spec.probe is ProbeKind.HEARTBEAT else None,
    )


def _argv(
    spec: ProcessSpec,
    place: DataDirectory,
    ports: Mapping[str, int],
    cluster: Cluster | None,
    say: Callable[[str], None],
) -> tuple[str, ...] | Callable[[int], tuple[str, ...]]:
    if spec.name == "postgres" and cluster is not None:
        return partial(_prepare_postgres, cluster, ports["postgres"])
    if spec.name == "valkey":
        return partial(_prepare_valkey, place, ports["valkey"], say)
    program, *arguments = spec.argv
    if program == "carrara":
        arguments = ["-m", "carrara.cli.main", *arguments]
    return (sys.executable, "-P", *arguments)  # -P: what lies in the current folder is not ours to import


def _prepare_postgres(cluster: Cluster, port: int, failed_starts: int) -> tuple[str, ...]:
    del failed_starts
    if cluster.is_made:
        stop_leftovers(cluster)
    make_cluster(cluster)
    return tuple(cluster.argv(port))


def _prepare_valkey(place: DataDirectory, port: int, say: Callable[[str], None], failed_starts: int) -> tuple[str, ...]:
    sentence = set_broken_data_aside(place.valkey, failed_starts)
    if sentence:
        say(sentence)
    configuration = write_configuration(place.valkey, port, kept_secret(place.secrets, "valkey"))
    return (str(valkey_binary()), str(configuration))


def _check_mlflow_database(specs: list[ProcessSpec], environ: Mapping[str, str]) -> None:
    names = {spec.name for spec in specs}
    if "mlflow" in names and "postgres" not in names and not environ.get("CARRARA_MLFLOW_DATABASE_URL"):
        raise Invalid(
            "CARRARA_DATABASE_URL is set, so no PostgreSQL is started here, but MLflow needs a database of its own (its"
            " tables have names like ours): set CARRARA_MLFLOW_DATABASE_URL to a second database on your server, or"
            " CARRARA_MLFLOW_URL to a running MLflow",
            code="mlflow_database_missing",
        )


def _number(variable: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Invalid(f"{variable} is {text!r}, expected a port number") from None
