"""States and the only ways between them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, TypeVar

from carrara.kernel.errors import Conflict

S = TypeVar("S", bound=StrEnum)


class StateMachine(Generic[S]):
    """The allowed transitions of one kind of thing. A state without a way out is terminal."""

    def __init__(self, what: str, transitions: Mapping[S, frozenset[S]]) -> None:
        self._what = what
        self._transitions = transitions

    def is_terminal(self, state: S) -> bool:
        return not self._transitions.get(state)

    def allows(self, before: S, after: S) -> bool:
        return after in self._transitions.get(before, frozenset())

    def check(self, before: S, after: S) -> S:
        """`after`, or `Conflict` naming where one could go instead."""
        if self.allows(before, after):
            return after
        ways = ", ".join(sorted(self._transitions.get(before, frozenset()))) or "nowhere: it is final"
        raise Conflict(
            f"a {self._what} that is {before} cannot become {after}; from here it can go to {ways}",
            code="bad_transition",
            before=str(before),
            after=str(after),
        )
