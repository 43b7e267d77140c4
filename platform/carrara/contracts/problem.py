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
    """The body of every answer that is not a success; content type `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    facts: dict[str, Any] = {}
    issues: list[ProblemIssue] = []
    request_id: str | None = None
