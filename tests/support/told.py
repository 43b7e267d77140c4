"""A channel for children that a test runs as functions."""

from collections.abc import Mapping
from typing import Any

import msgspec


class Told:
    """A channel that keeps what the child emits; events must be ones that the real channel can carry."""

    def __init__(self, argument: Mapping[str, Any]) -> None:
        self.argument = argument
        self.events: list[dict[str, Any]] = []

    def emit(self, event: Mapping[str, Any]) -> None:
        self.events.append(msgspec.msgpack.decode(msgspec.msgpack.encode(event)))

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]

    @property
    def result(self) -> dict[str, Any]:
        assert not self.named("user_error"), self.named("user_error")
        [event] = self.named("result")
        return dict(event["value"])

    @property
    def fault(self) -> dict[str, Any]:
        assert not self.named("result")
        [event] = self.named("user_error")
        return event
