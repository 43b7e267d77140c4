"""The route table that serving pulls: who answers what, and what is held ready beside it. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from carrara.contracts.release import ReleaseManifest
from carrara.contracts.routes import EndpointRoute, Fallback, RouteTable, Slot, SlotMode


@dataclass(frozen=True)
class EndpointFacts:
    """One endpoint, its releases by digest."""

    project: str
    endpoint: str
    desired: str | None
    candidate: str | None
    rollback_target: str | None
    fallback: Fallback | None


def build_route_table(
    generation: int,
    endpoints: Sequence[EndpointFacts],
    manifests: Mapping[str, ReleaseManifest],
    token_hashes: Mapping[str, Collection[str]],
) -> RouteTable:
    """The table of this generation. Only releases with a slot travel with it.

    `token_hashes`: by project, of every valid token of its members.
    """
    routes = [
        EndpointRoute(
            project=facts.project,
            endpoint=facts.endpoint,
            slots=slots_of(facts),
            fallback=facts.fallback,
            rollback_target=facts.rollback_target,
        )
        for facts in endpoints
    ]
    used = {slot.release for route in routes for slot in route.slots}
    return RouteTable(
        generation=generation,
        endpoints=routes,
        releases={digest: manifests[digest] for digest in sorted(used)},
        token_hashes={project: sorted(hashes) for project, hashes in sorted(token_hashes.items())},
    )


def slots_of(facts: EndpointFacts) -> list[Slot]:
    """All requests go to the desired release; the candidate and the way back are warm."""
    live = [Slot(release=facts.desired, mode=SlotMode.LIVE, weight=100)] if facts.desired else []
    beside = dict.fromkeys((facts.candidate, facts.rollback_target))
    warm = [release for release in beside if release is not None and release != facts.desired]
    return [*live, *(Slot(release=release, mode=SlotMode.WARM, weight=0) for release in warm)]
