"""The route table that serving pulls, and the report that each serving process gives back."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from carrara.contracts.release import ReleaseManifest
from carrara.contracts.wire import Answer, Wire

SCHEMA_VERSION = 1


class SlotMode(StrEnum):
    """LIVE answers requests by weight; WARM is loaded, self-tested and waits (candidate or rollback target)."""

    LIVE = "live"
    WARM = "warm"


class Slot(Answer):
    """One release at an endpoint. Weights of the live slots add up to 100, or there is no live slot."""

    release: str
    mode: SlotMode
    weight: int = Field(ge=0, le=100)


class Fallback(Wire):
    """What an endpoint answers when no release is live: a constant for every row, or 503."""

    kind: Literal["constant", "unavailable"]
    prediction: str | int | float | bool | None = None


class EndpointRoute(Answer):
    """One endpoint.

    `rollback_target`: the WARM release that a serving process may fall to by itself when the live one breaks. Other
    WARM releases are candidates and never get a request from it.
    """

    project: str
    endpoint: str
    slots: list[Slot]
    fallback: Fallback | None
    rollback_target: str | None = None


class RouteTable(Answer):
    """Who answers what. A process that does not know `schema_version` keeps its last good table and says so.

    `token_hashes`: by project, SHA-256 (hex) of the tokens that may predict at all its endpoints.
    """

    schema_version: int = SCHEMA_VERSION
    generation: int
    endpoints: list[EndpointRoute]
    releases: dict[str, ReleaseManifest]
    token_hashes: dict[str, list[str]] = {}


class SlotState(StrEnum):
    """Where a release is in one serving process. READY = loaded, digest verified, golden set answered."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    DRAINING = "draining"


class ReleaseReport(Answer):
    """`hashed_digest`: the digest over the bytes that this process loaded, hashed by itself.

    `golden_age_seconds`: how long before this report the golden set was answered, by a clock that nobody sets;
    `golden_at`: the same by the host's wall clock, for people.
    """

    digest: str
    state: SlotState
    hashed_digest: str | None = None
    error_code: str | None = None
    error: str | None = None
    load_seconds: float | None = None
    golden_rows: int | None = None
    golden_seconds: float | None = None
    golden_at: datetime | None = None
    golden_age_seconds: float | None = Field(default=None, ge=0)


class EndpointReport(Answer):
    """Which releases this process gives requests to, at which generation, and how it went since it booted.

    `gave_up`: those that the table wants live and that broke or do not load here; one may be in `live` still, where
    nothing else is left to answer.
    """

    project: str
    endpoint: str
    live: list[str]
    on_fallback: bool
    gave_up: list[str] = []
    requests: int = 0
    errors: int = 0
    model_faults: int = 0


class InstanceReport(Answer):
    """One serving process, every few seconds. It renews the instance's lease.

    `sequence` grows with each report of a boot: one that arrives late must not undo a newer one.
    """

    instance: str
    index: int = Field(ge=0, lt=1 << 31)
    boot_id: UUID
    sequence: int = Field(ge=0, lt=1 << 63)
    generation: int = Field(ge=-1, lt=1 << 62)
    releases: list[ReleaseReport]
    endpoints: list[EndpointReport]
    notes: dict[str, Any] = {}
