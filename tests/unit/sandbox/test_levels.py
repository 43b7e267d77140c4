"""Which layers make a level, which are applied, and what is said about those that are not there."""

import pytest

from carrara.sandbox.domain import Capabilities, Layer, LayerState, Level, applied_layers
from carrara.sandbox.levels import describe
from carrara.sandbox.uids import uid_range

NAMESPACES = {Layer.PID_NAMESPACE, Layer.NETWORK_NAMESPACE, Layer.MOUNT_VIEW}
CGROUPS = {Layer.MEMORY_CGROUP, Layer.PIDS_CGROUP}
CORE = {Layer.LANDLOCK, Layer.SECCOMP}


def machine(layers: set[Layer], *, as_root: bool = False) -> Capabilities:
    states = tuple(LayerState(layer, layer in layers, f"about {layer}") for layer in Layer)
    return Capabilities(as_root=as_root, layers=states)


@pytest.mark.parametrize(
    ("layers", "as_root", "level"),
    [
        (set(), False, Level.NONE),
        ({Layer.SECCOMP}, False, Level.NONE),
        ({Layer.LANDLOCK}, False, Level.NONE),
        (CORE, False, Level.STANDARD),
        (CORE | NAMESPACES | {Layer.USER_NAMESPACE}, False, Level.STANDARD),
        (CORE | NAMESPACES, True, Level.NONE),
        (CORE | {Layer.OWN_UID}, True, Level.STRICT),
        (CORE | NAMESPACES | CGROUPS | {Layer.OWN_UID}, True, Level.STRICT),
        (NAMESPACES | {Layer.OWN_UID, Layer.SECCOMP}, True, Level.NONE),
    ],
)
def test_the_level_that_is_reached(layers: set[Layer], as_root: bool, level: Level) -> None:
    assert machine(layers, as_root=as_root).achieved is level


def test_what_is_missing_is_named_with_its_reason() -> None:
    missing = machine({Layer.SECCOMP}).missing(Level.STRICT)

    assert [(state.layer, state.detail) for state in missing] == [
        (Layer.OWN_UID, "about own uid"),
        (Layer.LANDLOCK, "about landlock"),
    ]


def test_more_than_the_least_is_applied_where_it_is_to_be_had() -> None:
    everything = machine(CORE | NAMESPACES | {Layer.OWN_UID, Layer.MEMORY_CGROUP}, as_root=True)

    assert applied_layers(Level.STANDARD, everything) == CORE | NAMESPACES | {Layer.OWN_UID, Layer.MEMORY_CGROUP}


def test_level_none_applies_limits_only() -> None:
    assert applied_layers(Level.NONE, machine(set(Layer), as_root=True)) == CGROUPS


def test_processes_are_counted_by_a_group_only_where_a_uid_does_not() -> None:
    assert Layer.PIDS_CGROUP in applied_layers(Level.STANDARD, machine(CORE | CGROUPS))
    assert Layer.PIDS_CGROUP not in applied_layers(Level.STANDARD, machine(CORE | CGROUPS | {Layer.USER_NAMESPACE}))


def test_the_description_says_what_is_missing_for_more() -> None:
    text = describe(machine(CORE))

    assert text.startswith("sandbox level: standard\n")
    assert "for strict this is missing: own uid" in text
    assert "no  own uid            about own uid" in text
    assert "jobs that ask for it are refused" in text


@pytest.mark.parametrize(
    ("uid_map", "first"),
    [
        ("         0          0 4294967295\n", 1_900_000_000),
        ("0 100000 65536\n", 60_578),
        ("0 1000 1\n", None),
        ("0 1000 1\n1 100000 65536\n", 60_578),
        ("", None),
    ],
)
def test_uids_come_from_a_range_that_is_mapped(uid_map: str, first: int | None) -> None:
    numbers = uid_range(uid_map)

    assert (numbers.start if numbers else None) == first
    assert numbers is None or 65_534 not in numbers
