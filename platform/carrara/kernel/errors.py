"""The kinds of failure that Carrara knows. Services raise them; only `api/errors.py` turns them into HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Issue:
    """One fault in an input: where it is, what was found, what was expected, what to do."""

    where: str
    message: str
    code: str = "invalid"
    facts: Mapping[str, Any] | None = None


class CarraraError(Exception):
    """A failure whose message a user can act on. `code` is stable and machine-readable."""

    default_code: ClassVar[str] = "error"

    @property
    def kind(self) -> str:
        """The name of the kind on the wire, whatever the exact code."""
        return self.default_code

    def __init__(self, message: str, *, code: str | None = None, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.facts = facts


class NotFound(CarraraError):  # noqa: N818  # the names of kinds read as sentences: raise NotFound("model", name=...)
    """The thing does not exist, or the caller may not know that it does."""

    default_code = "not_found"

    def __init__(self, what: str, *, hint: str = "", **facts: Any) -> None:
        named = ", ".join(f"{key} {value!r}" for key, value in facts.items())
        super().__init__(f"no {what}" + (f" with {named}" if named else "") + (f". {hint}" if hint else ""), **facts)


class Invalid(CarraraError):  # noqa: N818
    """The input is wrong. `issues` names each fault with its place."""

    default_code = "invalid"

    def __init__(self, message: str, *, code: str | None = None, issues: Sequence[Issue] = (), **facts: Any) -> None:
        super().__init__(message, code=code, **facts)
        self.issues = tuple(issues)


class Conflict(CarraraError):  # noqa: N818
    """The input is right but the world has moved: a lost compare-and-set, a name that is taken."""

    default_code = "conflict"


class Refused(CarraraError):  # noqa: N818
    """A rule says no: a gate, a missing approval. The message says which and how to meet it."""

    default_code = "refused"


class Unauthenticated(CarraraError):  # noqa: N818
    """No identity, or one that is no longer valid."""

    default_code = "unauthenticated"


class Forbidden(CarraraError):  # noqa: N818
    """A known identity without the role."""

    default_code = "forbidden"


class TooLarge(CarraraError):  # noqa: N818
    """The input is over a limit, which `facts` names."""

    default_code = "too_large"


class Unavailable(CarraraError):  # noqa: N818
    """Something that we depend on is away. The only kind that may be retried."""

    default_code = "unavailable"

    def __init__(self, message: str, *, retry_after_seconds: int = 2, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.retry_after_seconds = retry_after_seconds


class Corrupted(CarraraError):  # noqa: N818
    """Stored bytes do not have the digest that names them."""

    default_code = "digest_mismatch"
