"""What Postgres can hold of what comes from a child: JSON without NaN, text without NUL."""

import math
from typing import Any

_MAX_DEPTH = 32


class NotJson(ValueError):  # noqa: N818  # reads as what it is
    """A value that cannot be kept; the message says why."""


def clean_text(text: str) -> str:
    """The text without NUL, which Postgres refuses, and without halves of surrogate pairs."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def clean_json(value: Any, depth: int = 0) -> Any:
    """The value as JSON can carry it; NotJson naming what it cannot."""
    if depth > _MAX_DEPTH:
        raise NotJson(f"nested deeper than {_MAX_DEPTH}")
    match value:
        case None | bool() | int():
            return value
        case str():
            return clean_text(value)
        case float():
            return finite(value, "a number")
        case dict():
            return {clean_text(str(key)): clean_json(item, depth + 1) for key, item in value.items()}
        case list() | tuple():
            return [clean_json(item, depth + 1) for item in value]
    raise NotJson(f"JSON cannot carry a {type(value).__name__}")


def shown_json(value: Any, depth: int = 0) -> Any:
    """The value, with text in place of what JSON cannot carry: for errors, which must always be told."""
    if isinstance(value, dict) and depth < _MAX_DEPTH:
        return {clean_text(str(key)): shown_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple) and depth < _MAX_DEPTH:
        return [shown_json(item, depth + 1) for item in value]
    try:
        return clean_json(value, depth)
    except NotJson:
        return clean_text(str(value))


def finite(value: Any, what: str) -> float:
    """The number; NotJson if it is none, or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise NotJson(f"{what} is a finite number, not {str(value)[:80]}")
    return float(value)
