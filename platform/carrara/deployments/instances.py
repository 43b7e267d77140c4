"""What the serving processes say, and what that proves about a release. Pure; every answer may be "could not tell"."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from carrara.contracts.routes import EndpointReport, InstanceReport, ReleaseReport, SlotState
from carrara.deployments.domain import MAX_REHEARSAL_AGE_SECONDS, Check, Outcome, Release

Address = tuple[str, str]
"""Project and endpoint, by name."""
_NOT_ITS_FAULT = frozenset({"store_unavailable"})


@dataclass(frozen=True)
class Instance:
    """The last report of one serving process. `is_expired`: its lease ran out, by the database's clock."""

    boot_id: UUID
    name: str
    generation: int
    reported_at: datetime
    is_expired: bool
    releases: Mapping[str, ReleaseReport] = field(default_factory=dict)
    endpoints: Mapping[Address, EndpointReport] = field(default_factory=dict)


def instance_of(report: InstanceReport, reported_at: datetime, *, is_expired: bool) -> Instance:
    """The report, indexed by release digest and by address."""
    return Instance(
        boot_id=report.boot_id,
        name=f"{report.instance}/{report.index}",
        generation=report.generation,
        reported_at=reported_at,
        is_expired=is_expired,
        releases={release.digest: release for release in report.releases},
        endpoints={(endpoint.project, endpoint.endpoint): endpoint for endpoint in report.endpoints},
    )


def unexpired(instances: Sequence[Instance]) -> tuple[Instance, ...]:
    return tuple(instance for instance in instances if not instance.is_expired)


def silent(instances: Sequence[Instance]) -> tuple[Instance, ...]:
    """Processes that stopped reporting and that no other process has replaced under the same name."""
    replaced = {instance.name for instance in instances if not instance.is_expired}
    newest: dict[str, Instance] = {}
    for instance in instances:
        if instance.name not in replaced:
            before = newest.get(instance.name)
            if before is None or instance.reported_at > before.reported_at:
                newest[instance.name] = instance
    return tuple(newest.values())


def holds(instance: Instance, release: Release, generation: int) -> Check:
    """Whether this process has loaded the release, hashed it truthfully and answered its golden set."""
    name = instance.name
    if instance.generation < generation:
        return _waiting(name, f"has route table {instance.generation}, not yet {generation}")
    report = instance.releases.get(release.digest)
    if report is None:
        return _waiting(name, f"does not know {release.title} yet")
    if report.state is SlotState.FAILED:
        why = report.error or report.error_code or "it did not say why"
        if report.error_code in _NOT_ITS_FAULT:
            return _waiting(name, f"could not get {release.title} yet: {why}")
        return _failed(name, f"could not load {release.title}: {why}", report.error_code or "load_failed")
    if report.state is not SlotState.READY:
        return _waiting(name, f"has {release.title} {report.state}")
    if report.hashed_digest != release.digest:
        return _failed(name, f"hashed {report.hashed_digest}, which is not {release.title}", "digest_mismatch")
    if (report.golden_rows or 0) < release.golden_rows:
        return _waiting(name, f"answered {report.golden_rows or 0} of {release.golden_rows} golden rows")
    return _passed(name, f"holds {release.title}")


def rehearsed(instance: Instance, release: Release, now: datetime) -> Check:
    """Whether the process holds the release and lately answered its golden set, or requests with it at this moment.

    `now` and `reported_at` are the database's; of the process only a difference is believed.
    """
    held = holds(instance, release, 0)
    if not held.passed:
        return held
    if any(_relies_on(report, release) for report in instance.endpoints.values()):
        return _passed(instance.name, f"answers requests with {release.title}")
    told = instance.releases[release.digest].golden_age_seconds
    age = None if told is None else told + (now - instance.reported_at).total_seconds()
    if age is None or age > MAX_REHEARSAL_AGE_SECONDS:
        last = "never said when" if age is None else f"last did so {age:.0f} s ago"
        return _waiting(instance.name, f"must answer the golden set of {release.title} again: it {last}")
    return _passed(instance.name, f"rehearsed {release.title} {max(age, 0):.0f} s ago")


def answers(instance: Instance, address: Address, release: Release | None, generation: int) -> Check:
    """Whether the process gives the endpoint's requests to this release alone (None: to the fallback)."""
    if release is not None:
        held = holds(instance, release, generation)
        if not held.passed:
            return held
    elif instance.generation < generation:
        return _waiting(instance.name, f"has route table {instance.generation}, not yet {generation}")
    report = instance.endpoints.get(address)
    if report is not None and (_relies_on(report, release) if release else report.on_fallback and not report.live):
        return _passed(instance.name, f"answers {release.title if release else 'with the fallback'}")
    if report is not None and release is not None and report.on_fallback:
        return _failed(instance.name, f"gave up {release.title} and fell back by itself", "fell_back")
    return _waiting(instance.name, f"has not switched to {release.title if release else 'the fallback'} yet")


def _relies_on(report: EndpointReport, release: Release) -> bool:
    """Whether all requests of the endpoint go to this release, and not for want of anything better."""
    return report.live == [release.digest] and release.digest not in report.gave_up


def all_of(name: str, checks: Sequence[Check]) -> Check:
    """One check over all processes: the first failure decides; without processes nobody could tell."""
    if not checks:
        return Check(name, Outcome.COULD_NOT_TELL, "no serving process reports; is serving running?", "no_instances")
    for outcome in (Outcome.FAILED, Outcome.COULD_NOT_TELL):
        found = [check for check in checks if check.outcome is outcome]
        if found:
            text = "; ".join(f"{check.name} {check.finding}" for check in found)
            return Check(name, outcome, text, found[0].code)
    return Check(name, Outcome.PASSED, f"{len(checks)}/{len(checks)} processes")


def _passed(name: str, finding: str) -> Check:
    return Check(name, Outcome.PASSED, finding)


def _failed(name: str, finding: str, code: str) -> Check:
    return Check(name, Outcome.FAILED, finding, code)


def _waiting(name: str, finding: str) -> Check:
    return Check(name, Outcome.COULD_NOT_TELL, finding, "waiting")
