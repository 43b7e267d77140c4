"""How ready serving processes are for releases, by what they report. Pure."""

from collections.abc import Iterable, Sequence

from carrara.contracts.routes import SlotState
from carrara.deployments.domain import Release
from carrara.deployments.instances import Instance, holds, unexpired
from carrara.deployments.way_back import Readiness


def readiness_of(instances: Sequence[Instance], found: Iterable[Release]) -> Readiness:
    """Which of these releases every process with a lease holds, hashed and tested, and which every one failed to load:
    to bring one of those back would bring an outage."""
    alive = unexpired(instances)
    if not alive:
        return Readiness()
    known = list(found)
    return Readiness(
        instances=len(alive),
        held=frozenset(
            release.id for release in known if all(holds(instance, release, 0).passed for instance in alive)
        ),
        unloadable=frozenset(
            release.id for release in known if all(_has_failed(instance, release) for instance in alive)
        ),
    )


def _has_failed(instance: Instance, release: Release) -> bool:
    report = instance.releases.get(release.digest)
    return report is not None and report.state is SlotState.FAILED
