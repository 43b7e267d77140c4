"""A compose file: the whole platform in containers on one machine, each process with its own networks and secrets."""

from typing import Any

import yaml

from carrara.kernel import heartbeat
from carrara.processes import ALWAYS, PROCESSES, ProbeKind, ProcessSpec

NOTICE = """\
# Rendered from platform/carrara/processes.py by `make docs`; change it with a compose.override.yaml, not here.
# First: python3 deploy/make_secrets.py deploy/secrets-compose. Then: docker compose -f deploy/compose.yaml up -d
# Needs Docker Compose 2.24 (env_file with `required`). docs/how-to/production.md says what was tested and what was not.
#
# worker and serving confine jobs and models themselves and need what Docker forbids by default: unprivileged user
# namespaces and mounts in them (seccomp, apparmor) and an uncovered /proc (systempaths). They stay without any
# capability and cannot gain any. Without these options they would reach a lower level: see `carrara doctor`.
#
# CARRARA_INSECURE_HTTP: inside these networks it is plain HTTP, and the published ports are on loopback only. Put a
# proxy that ends TLS before them.
"""
SECRETS_DIRECTORY = "./secrets-compose"
_STATE = "/var/lib/carrara"
_MLFLOW_PORT = 5000
_IMAGE = "carrara:local"
_SHARED = {
    "CARRARA_INSECURE_HTTP": "1",
    "CARRARA_DATA_DIR": f"{_STATE}/own",
    "CARRARA_OBJECT_STORE": f"{_STATE}/objects",
    "CARRARA_PLATFORM_URL": "http://platform:8080",
}
_OWN = {
    "platform": {"CARRARA_PLATFORM_HOST": "0.0.0.0", "CARRARA_PLATFORM_PORT": "8080"},  # noqa: S104
    "serving": {"CARRARA_SERVING_HOST": "0.0.0.0", "CARRARA_SERVING_PORT": "8081"},  # noqa: S104
    "mlflow": {
        "CARRARA_MLFLOW_HOST": "0.0.0.0",  # noqa: S104
        "CARRARA_MLFLOW_PORT": str(_MLFLOW_PORT),
        "CARRARA_MLFLOW_ARTIFACTS": f"{_STATE}/objects/mlflow",
    },
}
_PUBLISHED = {"platform": "8080", "serving": "8081"}


def compose_file() -> str:
    """The text of compose.yaml."""
    services = {spec.name: _server(spec) or _process(spec) for spec in PROCESSES}
    named = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", ())]
    whole = {
        "name": "carrara",
        "services": services,
        "networks": {"data": {}, "front": {}},
        "volumes": {name: {} for name in dict.fromkeys(named) if not name.startswith(".")},
        "secrets": {"valkey.conf": {"file": f"{SECRETS_DIRECTORY}/valkey.conf"}},
    }
    return NOTICE + yaml.safe_dump(whole, sort_keys=False, width=120, allow_unicode=True)


def _server(spec: ProcessSpec) -> dict[str, Any] | None:
    """The servers that are not ours, from their official images."""
    if spec.probe is ProbeKind.POSTGRES:
        own = {
            "image": "postgres:18",
            "command": list(spec.argv),
            "environment": {"POSTGRES_INITDB_ARGS": "--locale-provider=builtin --builtin-locale=C.UTF-8"},
            "env_file": [f"{SECRETS_DIRECTORY}/postgres.env"],
            "volumes": [
                "postgres:/var/lib/postgresql",
                "./postgres/roles.sh:/docker-entrypoint-initdb.d/roles.sh:ro",
            ],
            "healthcheck": _check(["CMD-SHELL", "pg_isready -q -h 127.0.0.1 -U postgres -d carrara"]),
            "shm_size": "256m",
        }
    elif spec.probe is ProbeKind.REDIS:
        kept = "$$(sed -n 's/^requirepass //p' /run/secrets/valkey.conf)"
        own = {
            "image": "valkey/valkey:9.0",
            "command": [*spec.argv, "/run/secrets/valkey.conf"],
            "secrets": ["valkey.conf"],
            "volumes": ["valkey:/data"],
            "healthcheck": _check(
                ["CMD-SHELL", f'REDISCLI_AUTH="{kept}" valkey-cli ping | grep -q PONG'],
            ),
        }
    else:
        return None
    return own | _ending(spec) | {"networks": ["data"], "restart": "unless-stopped"}


def _process(spec: ProcessSpec) -> dict[str, Any]:
    service: dict[str, Any] = {
        "image": _IMAGE,
        "build": {"context": "..", "dockerfile": "deploy/Dockerfile"},
        "command": list(spec.argv),
        "init": True,
        "environment": _environment(spec),
        "env_file": [{"path": f"{SECRETS_DIRECTORY}/{name}.env", "required": False} for name in spec.sees],
        "volumes": [f"objects:{_STATE}/objects", f"{spec.name}:{_STATE}/own"],
        "networks": _networks(spec),
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true", *(_UNCONFINED if spec.confines else ())],
        "restart": "on-failure" if spec.runs_once else "unless-stopped",
        **_ending(spec),
    }
    if spec.name == "serving":
        service["hostname"] = spec.name  # the instance is known by it, and finds its models again
    if spec.depends_on:
        service["depends_on"] = {name: {"condition": _condition(spec, name)} for name in spec.depends_on}
    if spec.name in _PUBLISHED:
        port = _PUBLISHED[spec.name]
        service["ports"] = [f"127.0.0.1:{port}:{port}"]
    if (check := _own_check(spec)) is not None:
        service["healthcheck"] = check
    return service


_UNCONFINED = ("seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined")


def _ending(spec: ProcessSpec) -> dict[str, Any]:
    return {"stop_signal": spec.stop_signal.name, "stop_grace_period": f"{spec.drain_seconds:g}s"}


def _environment(spec: ProcessSpec) -> dict[str, str]:
    values = ALWAYS | _SHARED | _OWN.get(spec.name, {})
    if "CARRARA_MLFLOW_SECRET" in spec.sees and spec.name != "mlflow":
        values |= {"CARRARA_MLFLOW_URL": f"http://mlflow:{_MLFLOW_PORT}"}
    if spec.probe is ProbeKind.HEARTBEAT:
        values |= {heartbeat.VARIABLE: _HEARTBEAT}
    return values


_HEARTBEAT = "/tmp/heartbeat"  # noqa: S108  # a tmpfs of this container alone


def _networks(spec: ProcessSpec) -> list[str]:
    """Who sees no database cannot even reach one."""
    inside = any(name.endswith("_DATABASE_URL") for name in spec.sees)
    return [*(["data"] if inside else []), *(["front"] if spec.name in _PUBLISHED else [])]


def _condition(spec: ProcessSpec, name: str) -> str:
    other = next(found for found in PROCESSES if found.name == name)
    if other.runs_once:
        return "service_completed_successfully"
    return "service_started" if spec.waits_itself else "service_healthy"


def _own_check(spec: ProcessSpec) -> dict[str, Any] | None:
    if spec.probe is ProbeKind.HEARTBEAT:
        return _check(["CMD-SHELL", f"test -n \"$$(find {_HEARTBEAT} -newermt '30 seconds ago')\""])
    if spec.probe is not ProbeKind.HTTP:
        return None
    port = f"os.environ['{spec.port_variable}']"
    header = "os.environ.get('CARRARA_MLFLOW_SECRET', '')" if spec.name == "mlflow" else "''"
    code = (
        "import os, urllib.request as u; "
        f"u.urlopen(u.Request('http://127.0.0.1:' + {port} + '{spec.probe_path}', "
        f"headers={{'x-carrara-mlflow-secret': {header}}}), timeout=4)"
    )
    return _check(["CMD", "python", "-c", code])


def _check(test: list[str]) -> dict[str, Any]:
    return {
        "test": test,
        "interval": "10s",
        "timeout": "5s",
        "retries": 3,
        "start_period": "60s",
        "start_interval": "1s",
    }
