"""What serving says to the platform: its internal routes, all allowed to fail at any time."""

import asyncio
import contextlib
from dataclasses import dataclass
from uuid import UUID

import httpx
from pydantic import ValidationError

from carrara.contracts.routes import SCHEMA_VERSION, InstanceReport, RouteTable
from carrara.contracts.wire import Answer
from carrara.kernel.digests import Digest, digest_bytes
from carrara.kernel.errors import CarraraError

_WAIT_SECONDS = 20
_SLACK_SECONDS = 10.0
_REPORT_SECONDS = 3.0


class _Version(Answer):
    schema_version: int


class _Generation(Answer):
    generation: int


class PlatformAway(CarraraError):  # noqa: N818
    """No usable answer: not reached, refused, or not understood. The message says which."""


@dataclass(frozen=True)
class Unchanged:
    """The platform says that the table we have is the newest."""


class PlatformClient:
    """One connection pool to the platform. Remembers which table it gave last, by the digest of its bytes."""

    def __init__(self, url: str, secret: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {secret}"},
            timeout=httpx.Timeout(_REPORT_SECONDS),
            limits=httpx.Limits(max_connections=4),
            trust_env=False,
        )
        self._given: Digest | None = None

    async def routes(self, after: int | None, *, wait_seconds: int = _WAIT_SECONDS) -> RouteTable | Unchanged:
        """The table when it is no longer generation `after`; waits at most `wait_seconds` for that. `Unchanged` also
        for the very bytes that this client gave last.

        `PlatformAway(unknown_schema)` for a table of another schema: it was written for another release of ours.
        """
        query = {"wait": 0} if after is None else {"after": after, "wait": wait_seconds}
        timeout = httpx.Timeout(_REPORT_SECONDS, read=wait_seconds + _SLACK_SECONDS)
        try:
            answer = await self._client.get("/internal/v1/routes", params=query, timeout=timeout)
        except httpx.HTTPError as error:
            raise PlatformAway(f"the platform cannot be reached: {_said(error)}", code="unreachable") from error
        if answer.status_code in (204, 304):
            return Unchanged()
        if answer.status_code != 200:
            raise _refused(answer)
        return await self._new_table(answer.content)

    async def report(self, report: InstanceReport) -> int:
        """Renews this process's lease with what it serves; gives the generation that the platform has now."""
        content = report.model_dump_json()
        headers = {"Content-Type": "application/json"}
        try:
            answer = await self._client.post("/internal/v1/instances", content=content, headers=headers)
        except httpx.HTTPError as error:
            raise PlatformAway(f"the platform cannot be reached: {_said(error)}", code="unreachable") from error
        if answer.status_code != 200:
            raise _refused(answer)
        try:
            return _Generation.model_validate_json(answer.content).generation
        except ValidationError as error:
            raise PlatformAway(f"the platform's answer cannot be read: {error}", code="unreadable") from error

    async def leave(self, boot_id: UUID) -> None:
        """Gives the lease back: this process is gone, not missing."""
        with contextlib.suppress(httpx.HTTPError):
            await self._client.delete(f"/internal/v1/instances/{boot_id}")

    async def _new_table(self, content: bytes) -> RouteTable | Unchanged:
        digest = digest_bytes(content)
        if digest == self._given:
            return Unchanged()
        table = await asyncio.to_thread(_table, content)  # megabytes of it must not hold up predictions
        self._given = digest
        return table

    async def close(self) -> None:
        await self._client.aclose()


def _table(content: bytes) -> RouteTable:
    try:
        version = _Version.model_validate_json(content).schema_version
        if version != SCHEMA_VERSION:
            raise PlatformAway(
                f"the platform's route table has schema {version}, this process knows {SCHEMA_VERSION};"
                " it goes on with the last one that it understood. Upgrade serving",
                code="unknown_schema",
            )
        return RouteTable.model_validate_json(content)
    except ValidationError as error:
        raise PlatformAway(f"the platform's route table cannot be read: {error}", code="unreadable") from error


def _refused(answer: httpx.Response) -> PlatformAway:
    hint = "; is CARRARA_SERVING_SECRET the platform's?" if answer.status_code in (401, 403) else ""
    return PlatformAway(f"the platform answered {answer.status_code}{hint}", code="refused")


def _said(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__
