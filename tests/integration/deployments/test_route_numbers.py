"""Each change of an endpoint is one new route table: the row that numbers them is locked once, and late."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event
from tests.support.deployments import FALLBACK, Town
from tests.support.fleet import Fleet

from carrara.contracts.routes import Fallback

_OTHER = Fallback(kind="unavailable")  # another constant would be an approver's to declare
CHANGES: dict[str, Callable[[Town, str, Any], Any]] = {
    "promoted with another fallback": lambda town, v3, _: [town.promote(v3, fallback=_OTHER)],
    "rolled back": lambda town, v3, _: [town.roll_back()],
    "rolled back before the switch": lambda town, v3, _: [town.promote(v3), town.roll_back()],
    "left before the switch": lambda town, v3, _: [town.promote(v3), town.roll_back(to="fallback")],
    "revoked before the switch": lambda town, v3, approval: [town.promote(v3), town.revoke(approval.id)],
    "rejected before the switch": lambda town, v3, _: [town.promote(v3), town.decide(v3, "rejected")],
}


@contextmanager
def _writes(town: Town) -> Iterator[list[str]]:
    """The tables that are written to, in order."""
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        words = statement.split()
        if words[0] in ("INSERT", "UPDATE"):
            seen.append(words[2] if words[0] == "INSERT" else words[1])

    event.listen(town.database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(town.database.engine, "before_cursor_execute", note)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_one_change_is_one_route_table(town: Town, fleet: Fleet, change: Callable[[Town, str, Any], Any]) -> None:
    town.endpoint(fallback=FALLBACK)
    for number in (1, 2):
        town.go_live(town.version(number), fleet)
    v3 = town.version(3)
    approval = town.decide(v3)
    with _writes(town) as written:
        steps = change(town, v3, approval)
    assert written.count("route_generation") == len(steps)


def test_promotion_locks_the_number_after_all_else_but_its_own_copy_of_it(town: Town) -> None:
    town.endpoint()
    v1 = town.version(1)
    town.decide(v1)
    with _writes(town) as written:
        rollout = town.promote(v1, fallback=FALLBACK).rollout
    assert written[-2:] == ["route_generation", "rollouts"]
    assert rollout.generation == town.routes().generation
