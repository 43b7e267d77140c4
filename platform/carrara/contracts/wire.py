"""What every wire type shares: unknown keys are an error, values are immutable."""

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict


class Wire(BaseModel):
    """A value that crosses a process boundary."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """What an API gives back. An older client ignores keys that it does not know yet."""

    model_config = ConfigDict(extra="ignore", frozen=True)


T = TypeVar("T")


class Page(Answer, Generic[T]):
    """One page of a listing. Pass `next` as `after` for the page behind it; None at the end."""

    items: list[T]
    next: str | None = None
