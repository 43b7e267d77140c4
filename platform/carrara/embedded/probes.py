"""Asking a process whether it is ready, without importing any client library: the supervisor must stay small."""

import asyncio
import math
import struct
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from carrara.embedded.mlflow_server import SECRET_HEADER
from carrara.processes import ProbeKind

_PROTOCOL_3_0 = 196608  # PostgreSQL manual, "Message Formats", StartupMessage
_OK = 200
HEARTBEAT_SECONDS = 30.0


@dataclass(frozen=True)
class Probe:
    """What to ask, where. `secret_name` is a file below `secrets/`, so that `carrara status` can ask the same;
    `heartbeat` is the file that the process touches."""

    kind: ProbeKind
    port: int = 0
    path: str = ""
    secret_name: str | None = None
    heartbeat: str | None = None
    host: str = "127.0.0.1"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def probe_from_json(data: Mapping[str, Any]) -> Probe:
    return Probe(
        ProbeKind(data["kind"]), data["port"], data["path"], data["secret_name"], data["heartbeat"], data["host"]
    )


async def answers(probe: Probe, secrets_directory: Path, *, within_seconds: float = 2.0) -> bool:
    """Whether the process answers as a ready one does. Refused, late and wrong are all False."""
    if probe.kind is ProbeKind.HEARTBEAT:
        return heartbeat_age(probe) <= HEARTBEAT_SECONDS
    try:
        secret = (secrets_directory / probe.secret_name).read_text().strip() if probe.secret_name else None
        async with asyncio.timeout(within_seconds):
            reader, writer = await asyncio.open_connection(probe.host, probe.port)
            try:
                return await _ask(probe, secret, reader, writer)
            finally:
                writer.close()
    except (OSError, asyncio.IncompleteReadError, ValueError):
        return False


def heartbeat_age(probe: Probe) -> float:
    """Seconds since the process last said that it works; infinite if it never did."""
    try:
        return time.time() - Path(probe.heartbeat or "").stat().st_mtime if probe.heartbeat else math.inf
    except OSError:
        return math.inf


async def _ask(probe: Probe, secret: str | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    if probe.kind is ProbeKind.POSTGRES:
        body = struct.pack("!i", _PROTOCOL_3_0) + b"user\0carrara\0database\0carrara\0\0"
        writer.write(struct.pack("!i", len(body) + 4) + body)
        return await reader.readexactly(1) == b"R"  # asks for a password; while it recovers it answers E
    if probe.kind is ProbeKind.REDIS:
        writer.write(f"AUTH {secret}\r\nPING\r\n".encode())
        return await reader.readline() == b"+OK\r\n" and await reader.readline() == b"+PONG\r\n"
    header = f"{SECRET_HEADER}: {secret}\r\n" if secret else ""
    writer.write(f"GET {probe.path} HTTP/1.1\r\nHost: {probe.host}\r\n{header}Connection: close\r\n\r\n".encode())
    status = (await reader.readline()).split()
    return len(status) > 1 and int(status[1]) == _OK
