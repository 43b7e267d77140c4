"""What an endpoint may truthfully say of itself: computed from the leases of serving processes, never stored. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from carrara.deployments.domain import LedgerEntry, Release
from carrara.deployments.instances import Address, Instance, answers, silent, unexpired


class ServingState(StrEnum):
    """SERVING: every known process confirms it. CONVERGING: some do not yet. STALE: none has reported lately.
    UNKNOWN: there is no evidence at all. EMPTY: nothing was ever promoted."""

    SERVING = "serving"
    CONVERGING = "converging"
    STALE = "stale"
    UNKNOWN = "unknown"
    EMPTY = "empty"


@dataclass(frozen=True)
class Status:
    """`confirmed` of `known` processes answer as the ledger says; `age_seconds` is of the oldest report that counts."""

    state: ServingState
    message: str
    confirmed: int = 0
    known: int = 0
    age_seconds: float | None = None
    missing: tuple[str, ...] = ()


def status_of(
    address: Address,
    entry: LedgerEntry | None,
    release: Release | None,
    instances: Sequence[Instance],
    now: datetime,
) -> Status:
    """The status of one endpoint. `entry` is its newest ledger entry, `release` what that entry made live (None: the
    fallback), `now` the database's time. A process whose lease ran out is known until another replaces it."""
    if entry is None:
        return Status(ServingState.EMPTY, "nothing has been promoted to it yet")
    what = release.title if release else "the fallback"
    alive, gone = unexpired(instances), silent(instances)
    known = len(alive) + len(gone)
    if not known:
        return Status(ServingState.UNKNOWN, f"no serving process has reported; {what} should answer")
    if not alive:
        age = min(_age(instance, now) for instance in gone)
        message = f"no report for {age:.0f} s; {what} should answer"
        return Status(ServingState.STALE, message, 0, known, age, tuple(_gone(instance, now) for instance in gone))
    checks = [answers(instance, address, release, entry.generation) for instance in alive]
    confirmed = sum(check.passed for check in checks)
    age = max(_age(instance, now) for instance in alive)
    missing = tuple(f"{check.name} {check.finding}" for check in checks if not check.passed)
    missing += tuple(_gone(instance, now) for instance in gone)
    if missing:
        message = f"converging {confirmed}/{known} to {what}: {'; '.join(missing)}"
        return Status(ServingState.CONVERGING, message, confirmed, known, age, missing)
    message = f"serving {what} confirmed by {confirmed}/{known} ({age:.0f} s ago)"
    return Status(ServingState.SERVING, message, confirmed, known, age)


def _age(instance: Instance, now: datetime) -> float:
    return max((now - instance.reported_at).total_seconds(), 0.0)


def _gone(instance: Instance, now: datetime) -> str:
    return f"{instance.name} has not reported for {_age(instance, now):.0f} s"
