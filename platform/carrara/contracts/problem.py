"""Errors on the wire: RFC 9457 problem details, with each fault of the input named."""

from typing import Any

from carrara.contracts.wire import Answer


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
