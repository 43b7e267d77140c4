"""Who answers, as a function of the table and of what is loaded."""

from collections import Counter
from dataclasses import dataclass

import pytest

from carrara.contracts.routes import EndpointRoute, Fallback, Slot, SlotMode
from carrara.inference.breaker import MIN_FAULTS, WINDOW_SECONDS, Breaker
from carrara.inference.routing import EndpointRouting, Loaded, plan_endpoint

CONSTANT = Fallback(kind="constant", prediction="ok")
UNAVAILABLE = Fallback(kind="unavailable")


@dataclass(eq=False)
class Release:
    digest: str


OLD, NEW, OTHER = Release("old"), Release("new"), Release("other")


def table(live: dict[str, int], *, target: str | None = None, fallback: Fallback | None = None) -> EndpointRoute:
    slots = [Slot(release=digest, mode=SlotMode.LIVE, weight=weight) for digest, weight in live.items()]
    if target:
        slots.append(Slot(release=target, mode=SlotMode.WARM, weight=0))
    return EndpointRoute(project="p", endpoint="e", slots=slots, fallback=fallback, rollback_target=target)


def loaded(*ready: Release, failed: tuple[str, ...] = (), broke: tuple[str, ...] = ()) -> Loaded:
    return Loaded({release.digest: release for release in ready}, failed, broke)  # type: ignore[misc]  # stand-ins


def before(*live: Release, fallback: Fallback | None = None) -> EndpointRouting:
    return EndpointRouting(live=live, weights=(100.0,) * len(live), fallback=fallback)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("route", "has", "was", "live", "on_fallback"),
    [
        pytest.param(table({"new": 100}), loaded(NEW), None, ["new"], False, id="ready"),
        pytest.param(table({"new": 100}), loaded(), before(OLD), ["old"], False, id="loading, old goes on"),
        pytest.param(
            table({"new": 100}), loaded(failed=("new",)), before(OLD), ["old"], False, id="failed, old goes on"
        ),
        pytest.param(table({"new": 90, "old": 10}), loaded(OLD), before(OLD), ["old"], False, id="never half a switch"),
        pytest.param(table({"new": 100}), loaded(), None, [], False, id="first boot, loading"),
        pytest.param(table({"new": 100}), loaded(), before(fallback=CONSTANT), [], True, id="first release, loading"),
        pytest.param(
            table({"new": 100}, target="old"), loaded(OLD, failed=("new",)), None, ["old"], True, id="boot, live fails"
        ),
        pytest.param(
            table({"new": 100}, target="old"), loaded(OLD, NEW, broke=("new",)), before(NEW), ["old"], True, id="broke"
        ),
        pytest.param(
            table({"new": 100}), loaded(OLD, NEW, broke=("new",)), before(NEW), ["new"], True, id="broke, no way back"
        ),
        pytest.param(
            table({"new": 100}, fallback=UNAVAILABLE),
            loaded(NEW, broke=("new",)),
            before(NEW),
            [],
            True,
            id="broke, declared 503",
        ),
        pytest.param(
            table({"new": 100}, target="old"),
            loaded(OLD, NEW, broke=("new", "old")),
            None,
            ["new"],
            True,
            id="all broke",
        ),
        pytest.param(
            table({"new": 100}, fallback=CONSTANT), loaded(NEW, broke=("new",)), None, [], True, id="broke, constant"
        ),
        pytest.param(
            table({"new": 10, "old": 90}), loaded(OLD, NEW, broke=("new",)), None, ["old"], True, id="canary broke"
        ),
        pytest.param(table({}, fallback=CONSTANT), loaded(), before(OLD), [], True, id="back to the fallback"),
    ],
)
def test_what_answers(
    route: EndpointRoute, has: Loaded, was: EndpointRouting | None, live: list[str], on_fallback: bool
) -> None:
    routing = plan_endpoint(route, has, was)

    assert [release.digest for release in routing.live] == live
    assert routing.on_fallback is on_fallback


def test_a_candidate_is_never_what_a_broken_release_falls_to() -> None:
    route = table({"new": 100}, target="old").model_copy(
        update={"slots": [*table({"new": 100}).slots, Slot(release="other", mode=SlotMode.WARM, weight=0)]}
    )

    assert plan_endpoint(route, loaded(NEW, OTHER, broke=("new",)), None).live == (NEW,)


def test_requests_are_shared_by_weight() -> None:
    routing = plan_endpoint(table({"old": 90, "new": 10}), loaded(OLD, NEW), None)

    found = Counter(release.digest for n in range(1000) if (release := routing.choose(n / 1000)))

    assert found == {"old": 900, "new": 100}


def test_the_breaker_trips_on_many_faults_and_not_on_few() -> None:
    breaker = Breaker()

    tripped = [breaker.record(1.0, is_fault=True) for _ in range(MIN_FAULTS)]

    assert tripped == [False] * (MIN_FAULTS - 1) + [True]


def test_the_breaker_forgives_a_small_share_and_what_is_long_ago() -> None:
    breaker = Breaker()
    for _ in range(MIN_FAULTS * 10):
        breaker.record(1.0, is_fault=False)
    assert not any(breaker.record(2.0, is_fault=True) for _ in range(MIN_FAULTS * 2))

    later = Breaker()
    for _ in range(MIN_FAULTS - 1):
        later.record(0.0, is_fault=True)
    assert not later.record(WINDOW_SECONDS + 1, is_fault=True)
