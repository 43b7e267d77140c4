"""Which releases answer an endpoint in this process, from the route table and from what is loaded. Pure."""

from bisect import bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from carrara.contracts.routes import EndpointRoute, Fallback, SlotMode
from carrara.inference.slot import LoadedRelease

Address = tuple[str, str]
"""Project and endpoint, by name."""


@dataclass(frozen=True)
class EndpointRouting:
    """Immutable: a request that holds it, and the release it chose, is not touched by a swap.

    `live` with `weights` beside it. Without a live release, `fallback` answers, or 503 with `waiting_for`.
    `gave_up`: releases that the table wants live and that get no requests here, since they broke or do not load.
    """

    live: tuple[LoadedRelease, ...] = ()
    weights: tuple[float, ...] = ()
    fallback: Fallback | None = None
    waiting_for: str = ""
    gave_up: tuple[str, ...] = ()
    bounds: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bounds", tuple(accumulate(self.weights)))

    @property
    def on_fallback(self) -> bool:
        """Whether it answers with something else than the table's live releases."""
        return bool(self.gave_up) or (not self.live and not self.waiting_for)

    def choose(self, point: float) -> LoadedRelease | None:
        """The release at `point` (0 <= point < 1) of the weights; None if none is live."""
        if len(self.live) < 2:
            return self.live[0] if self.live else None
        place = bisect_right(self.bounds, point * self.bounds[-1])
        return self.live[min(place, len(self.live) - 1)]


@dataclass(frozen=True)
class Loaded:
    """What this process has: `ready` releases, those that `failed` to load, and those that `broke` while serving."""

    ready: Mapping[str, LoadedRelease]
    failed: Collection[str] = ()
    broke: Collection[str] = ()


def plan_endpoint(route: EndpointRoute, loaded: Loaded, before: EndpointRouting | None) -> EndpointRouting:
    """What answers now. In this order:

    1. what the table wants live, if all of it is ready and sound;
    2. while something of it is not ready: what answered before (a switch happens whole or not at all);
    3. of the table's live releases, those that are ready and sound;
    4. the rollback target, if ready and sound; 5. the declared fallback, which may be 503; 6. where none is declared,
    a broken release rather than nothing, named in `gave_up`.
    """
    wanted = {slot.release: slot.weight for slot in route.slots if slot.mode is SlotMode.LIVE and slot.weight > 0}
    if not wanted:
        return EndpointRouting(fallback=route.fallback)
    sound = [digest for digest in wanted if digest in loaded.ready and digest not in loaded.broke]
    missing = [digest for digest in wanted if digest not in loaded.ready]
    if missing and before is not None and (kept := _still_sound(before, loaded)) is not None:
        return kept
    lost = tuple(digest for digest in wanted if digest in loaded.broke or digest in loaded.failed)
    if sound:
        return _live(sound, [wanted[digest] for digest in sound], loaded, lost)
    target = route.rollback_target
    if lost and target is not None and target in loaded.ready and target not in loaded.broke:
        return _live([target], [100], loaded, lost)
    if missing and not lost:
        return EndpointRouting(waiting_for=f"{', '.join(missing)} is being loaded")
    if lost and route.fallback is not None and route.fallback.kind == "constant":
        return EndpointRouting(fallback=route.fallback, gave_up=lost)
    present = [digest for digest in wanted if digest in loaded.ready]
    if present and route.fallback is not None:
        return EndpointRouting(fallback=route.fallback, gave_up=lost)
    if present:
        return _live(present, [wanted[digest] for digest in present], loaded, lost)
    return EndpointRouting(waiting_for=f"{', '.join(missing)} could not be loaded", gave_up=lost)


def _live(digests: list[str], weights: list[int], loaded: Loaded, lost: tuple[str, ...]) -> EndpointRouting:
    releases = tuple(loaded.ready[digest] for digest in digests)
    return EndpointRouting(live=releases, weights=tuple(map(float, weights)), gave_up=lost)


def _still_sound(before: EndpointRouting, loaded: Loaded) -> EndpointRouting | None:
    """What answered before, if it may go on; an endpoint that had only its fallback goes on with that."""
    if not before.live:
        return before if before.fallback is not None else None
    return before if all(release.digest not in loaded.broke for release in before.live) else None
