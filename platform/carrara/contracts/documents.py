"""Documents that people write (specs, policies): checked against their wire type, each fault named where it is."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from carrara.kernel.errors import Invalid, Issue

M = TypeVar("M", bound=BaseModel)


def parse_document(kind: type[M], document: Any, where: str) -> M:
    """The document as a `kind`; `Invalid` with an issue for each fault, at `<where>.<path>`.

    An unknown key is named with the nearest one that exists.
    """
    if not isinstance(document, Mapping):
        issue = Issue(where, f"expected keys and values, got {type(document).__name__}", code="not_a_mapping")
        raise Invalid(f"{where}: {issue.message}", code="bad_document", issues=[issue])
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        issues = [_issue(kind, fault, where) for fault in error.errors(include_url=False)]
    named = "; ".join(f"{issue.where}: {issue.message}" for issue in issues[:5])
    more = f" (and {len(issues) - 5} more)" if len(issues) > 5 else ""
    raise Invalid(named + more, code="bad_document", issues=issues)


def read_own(kind: type[M], document: Mapping[str, Any]) -> M:
    """A document that Carrara itself wrote; `Invalid` if it is not: another release wrote it, or a child forged it."""
    try:
        return kind.model_validate(dict(document))
    except ValidationError as error:
        raise Invalid(f"this is no {kind.__name__} of this release: {error}", code="unreadable_document") from error


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that `name` was most likely meant to be; None if none is like it."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return close[0] if close else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?` or nothing."""
    close = nearest(name, names)
    return f"; did you mean {close!r}?" if close else ""


def _issue(kind: type[BaseModel], fault: Any, where: str) -> Issue:
    location, keys = _walk(kind, fault["loc"])
    path = ".".join([where, *location])
    if fault["type"] == "extra_forbidden":
        hint = did_you_mean(location[-1], keys) or (f"; possible here: {', '.join(keys)}" if keys else "")
        return Issue(path, f"unknown key{hint}", code="unknown_key")
    if fault["type"] == "missing":
        return Issue(path, "is missing", code="missing_key")
    message = str(fault["msg"]).removeprefix("Value error, ")
    return Issue(path, message[:1].lower() + message[1:], code=fault["type"])


def _walk(kind: type[BaseModel], location: tuple[Any, ...]) -> tuple[list[str], list[str]]:
    """The path as a person would write it, and the keys that are possible beside its last part.

    Where one of several types may stand, pydantic puts the tag of the one it tried into the path: left out here.
    """
    path: list[str] = []
    here = [kind]
    keys: list[str] = []
    for part in location:
        if isinstance(part, int):
            path.append(str(part))
        elif len(here) > 1:
            here = [model for model in here if _is_tagged(model, part)] or here
            here, keys = here[:1] if len(here) == 1 else [_Either], sorted({k for m in here for k in m.model_fields})
        else:
            path.append(part)
            known = here[0].model_fields if here else {}
            keys = keys if here == [_Either] else sorted(known)
            here = _models_in(known[part].annotation) if part in known else []
    return path, keys


class _Either(BaseModel):
    """Stands where the path has gone into one of several types that only their keys tell apart."""


def _is_tagged(model: type[BaseModel], tag: str) -> bool:
    return any(tag in getattr(field.annotation, "__args__", ()) for field in model.model_fields.values())


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in getattr(annotation, "__args__", ()) for model in _models_in(argument)]
