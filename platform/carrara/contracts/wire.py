"""What every wire type shares: unknown keys are an error, values are immutable, text can be stored."""

import re
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

BAD_VALUE = "bad_value"
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Wire(BaseModel):
    """A value that crosses a process boundary. NUL and halves of surrogate pairs in it are `bad_value`: no text in
    PostgreSQL can hold them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _holds_storable_text(cls, value: Any) -> Any:
        place = unstorable_place(value)
        if place is not None:
            message = "a NUL character or half of a surrogate pair{at}; no text may hold one"
            at = f" at {'.'.join(place)}" if place else ""
            raise PydanticCustomError(BAD_VALUE, message, {"at": at, "place": list(place)})
        return value


class Answer(BaseModel):
    """What an API gives back. An older client ignores keys that it does not know yet."""

    model_config = ConfigDict(extra="ignore", frozen=True)


T = TypeVar("T")


class Page(Answer, Generic[T]):
    """One page of a listing. Pass `next` as `after` for the page behind it; None at the end."""

    items: list[T]
    next: str | None = None


def unstorable_place(value: Any) -> tuple[str, ...] | None:
    """Where in JSON-like data the first text is that cannot be stored, as keys and positions; None if there is none.

    A key that cannot be stored is named with its characters escaped.
    """
    if isinstance(value, str):
        return () if _UNSTORABLE.search(value) else None
    if isinstance(value, Mapping):
        for key, below in value.items():
            name = ascii(key)[1:-1] if isinstance(key, str) and _UNSTORABLE.search(key) else None
            place = () if name else unstorable_place(below)
            if place is not None:
                return (name or str(key), *place)
    elif isinstance(value, list | tuple):
        for position, below in enumerate(value):
            place = unstorable_place(below)
            if place is not None:
                return (str(position), *place)
    return None
