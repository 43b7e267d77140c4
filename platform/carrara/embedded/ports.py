"""Ports on loopback: found free, remembered so that URLs stay, and named when somebody else has them."""

import json
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

from carrara.embedded.postgres_places import write_durably
from carrara.kernel.errors import Conflict, Invalid

_LAST_PORT = 65535


@dataclass(frozen=True)
class PortWish:
    """A port to find. `asked` is what the user gave by `flag` or `variable`; `preferred` is tried first otherwise."""

    name: str
    variable: str
    flag: str | None = None
    asked: int | None = None
    preferred: int | None = None


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether we could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free for a listener
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def holder_of(port: int) -> str | None:
    """Who listens on a port, such as `process 4711 (nginx)`; None if the system does not tell us."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return None
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            try:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})" if connection.pid else None
            except psutil.Error:
                return None
    return None


def choose_ports(wishes: tuple[PortWish, ...], remembered_in: Path) -> tuple[dict[str, int], list[str]]:
    """A port for each wish, the same as last time where it can be, and sentences about what was chosen otherwise.

    Conflict if a port that was asked for, or one that clients know from last time, is taken.
    """
    remembered = remembered_ports(remembered_in)
    chosen: dict[str, int] = {}
    said: list[str] = []
    for wish in wishes:
        port, sentence = _choose(wish, remembered.get(wish.name), set(chosen.values()))
        chosen[wish.name] = port
        said += [sentence] if sentence else []
    write_durably(remembered_in, json.dumps(chosen, indent=2) + "\n")
    return chosen, said


def _choose(wish: PortWish, last: int | None, ours: set[int]) -> tuple[int, str | None]:
    if wish.asked is not None:
        if not 0 < wish.asked <= _LAST_PORT:
            raise Invalid(f"{wish.flag or wish.variable}: {wish.asked} is not a port (1 to {_LAST_PORT})")
        if wish.asked in ours or not is_free(wish.asked):
            raise _taken(wish, wish.asked, "it was asked for")
        return wish.asked, None
    if last is not None and last not in ours and is_free(last):
        return last, None
    if last is not None and wish.preferred is not None:
        raise _taken(wish, last, "this data directory used it before, and clients know it")
    if wish.preferred is not None and wish.preferred not in ours and is_free(wish.preferred):
        return wish.preferred, None
    port = free_port()
    while port in ours:
        port = free_port()
    if wish.preferred is None:
        return port, None
    held = holder_of(wish.preferred)
    return port, f"port {wish.preferred} is taken{f' by {held}' if held else ''}: {wish.name} listens on {port}"


def _taken(wish: PortWish, port: int, why: str) -> Conflict:
    held = holder_of(port)
    other = f"{wish.flag} or {wish.variable}" if wish.flag else wish.variable
    return Conflict(
        f"port {port} for {wish.name} is taken by {held or 'another process (whose, the system does not tell us)'};"
        f" {why}. Free it, or choose another with {other}",
        code="port_taken",
        port=port,
        name=wish.name,
    )


def remembered_ports(path: Path) -> dict[str, int]:
    """The ports of last time by name; none if there was no last time."""
    try:
        data = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return {str(name): int(port) for name, port in data.items()} if isinstance(data, dict) else {}
