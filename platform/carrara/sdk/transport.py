"""HTTP for the SDK: one key for each write, retries only where they are safe, problems as Carrara's own errors."""

import random
import time
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter

from carrara.contracts.problem import Problem
from carrara.contracts.wire import Page
from carrara.kernel import errors
from carrara.kernel.errors import CarraraError, Issue, Unavailable
from carrara.kernel.ids import uuid7

A = TypeVar("A")

_KINDS: dict[str, type[CarraraError]] = {
    kind.default_code: kind
    for kind in (
        errors.Conflict,
        errors.Corrupted,
        errors.Forbidden,
        errors.Refused,
        errors.TooLarge,
        errors.Unauthenticated,
    )
}
_PATIENCE_SECONDS = 15.0


class Transport:
    """Requests to one platform as one caller. Safe to share between threads."""

    def __init__(self, url: str, token: str, *, timeout_seconds: float = 60.0) -> None:
        self.url = url
        self._client = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(timeout_seconds, connect=5.0),
        )

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, answer: type[A], **params: Any) -> A:
        """What is at `path`, as `answer`."""
        return self._parsed(self.send("GET", path, params=_set(params)), answer)

    def pages(self, path: str, item: type[A], *, limit: int | None = None, **params: Any) -> Iterator[A]:
        """Every item of a listing, fetched page by page, at most `limit`."""
        after: str | None = None
        left = limit
        while left is None or left > 0:
            page = self.get(path, Page[item], after=after, limit=min(left or 100, 100), **params)  # type: ignore[valid-type]  # a type given at run time
            yield from page.items
            left = None if left is None else left - len(page.items)
            after = page.next
            if after is None:
                return

    def write(
        self, method: str, path: str, answer: type[A], *, body: BaseModel | None = None, key: str | None = None
    ) -> A:
        """Does a write at most once: a retry after a lost answer carries the same Idempotency-Key."""
        content = body.model_dump_json(exclude_unset=True).encode() if body is not None else None
        headers = {"Idempotency-Key": key or str(uuid7()), "Content-Type": "application/json"}
        return self._parsed(self.send(method, path, content=content, headers=headers), answer)

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The response, if it is a success; retried while the platform is away and the request is safe to repeat."""
        headers: Mapping[str, str] = options.get("headers") or {}
        repeatable = (method == "GET" or "Idempotency-Key" in headers) and not options.pop("once", False)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                response = self._client.request(method, path, **options)
            except httpx.TransportError as error:
                failure: CarraraError = Unavailable(f"{self.url} does not answer: {error}")
                cause: Exception | None = error
            else:
                if response.is_success:
                    return response
                failure, cause = error_of(response), None
            pause = _pause(failure) if repeatable else None
            if pause is None or time.monotonic() + pause > deadline:
                raise failure from cause
            time.sleep(pause)

    def stream(self, method: str, path: str, **options: Any) -> Any:
        """A context manager with the response before its body is read."""
        return self._client.stream(method, path, **options)

    def _parsed(self, response: httpx.Response, answer: type[A]) -> A:
        return TypeAdapter(answer).validate_json(response.content)


def error_of(response: httpx.Response) -> CarraraError:
    """The failure that this response tells of, with the code, the facts and the issues that the platform gave."""
    try:
        problem = Problem.model_validate_json(response.read())
    except ValueError:
        problem = Problem(
            type="about:blank", title="error", status=response.status_code, detail=response.text[:500], code="error"
        )
    facts = {key: value for key, value in problem.facts.items() if key not in {"code", "issues", "message", "what"}}
    match problem.kind:
        case "invalid":
            issues = [Issue(i.where, i.message, i.code, i.facts) for i in problem.issues]
            return errors.Invalid(problem.detail, code=problem.code, issues=issues, **facts)
        case "unavailable":
            return Unavailable(problem.detail, retry_after_seconds=int(response.headers.get("Retry-After", "2")))
        case "not_found":
            missing = errors.NotFound("thing", **facts)
            missing.message, missing.args, missing.code = problem.detail, (problem.detail,), problem.code
            return missing
    return _KINDS.get(problem.kind, CarraraError)(problem.detail, code=problem.code, **facts)


def _pause(failure: CarraraError) -> float | None:
    if isinstance(failure, Unavailable):
        return min(failure.retry_after_seconds, 2) * (0.5 + random.random() / 2)  # noqa: S311  # jitter
    return 1.0 if failure.code == "in_flight" else None


def _set(params: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in params.items() if value is not None}
