"""Errors on the wire: RFC 9457 problem details, with each fault of the input named."""

from typing import Any

from carrara.contracts.wire import Answer
from carrara.kernel.errors import CarraraError


class ProblemIssue(Answer):
    """One fault: `where` is a path into the request (`spec.target`, `row 3, column dep_delay`)."""

    where: str
    message: str
    code: str = "invalid"
    facts: dict[str, Any] = {}


class Problem(Answer):
    """The body of every answer that is not a success; content type `application/problem+json`.

    `kind` is one of a dozen (`not_found`, `refused`, `unavailable`, ...) and tells how to react; `code` is exact.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    kind: str = "error"
    facts: dict[str, Any] = {}
    issues: list[ProblemIssue] = []
    request_id: str | None = None


def describe(error: CarraraError, *, status: int, kind: str, request_id: str | None) -> Problem:
    """The wire form of a failure of ours; the edge that answers knows the status and the kind."""
    issues = [
        ProblemIssue(where=found.where, message=found.message, code=found.code, facts=dict(found.facts or {}))
        for found in getattr(error, "issues", ())
    ]
    return Problem(
        type=f"urn:carrara:problem:{error.code}",
        title=error.code.replace("_", " "),
        status=status,
        detail=error.message,
        code=error.code,
        kind=kind,
        facts=error.facts,
        issues=issues,
        request_id=request_id,
    )
