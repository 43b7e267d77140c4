"""The only table from kinds of failure to HTTP. Every error body is a problem (RFC 9457)."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from carrara.contracts.problem import Problem, ProblemIssue, describe
from carrara.contracts.wire import BAD_VALUE
from carrara.kernel import errors

STATUS: dict[type[errors.CarraraError], int] = {
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Refused: 409,
    errors.TooLarge: 413,
    errors.Invalid: 422,
    errors.Corrupted: 500,
    errors.Unavailable: 503,
}
MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)


def install_error_handlers(app: FastAPI) -> None:
    """Makes every failure of `app` a problem document."""
    app.add_exception_handler(errors.CarraraError, _known)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unknown)


def problem_of(error: errors.CarraraError, request_id: str | None) -> Problem:
    """The wire form of a failure of ours."""
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    return describe(error, status=status, kind=error.kind, request_id=request_id)


def answer_to(error: errors.CarraraError, request_id: str | None) -> JSONResponse:
    """The whole answer to a failure of ours, for who stands before the routes."""
    return _answer(problem_of(error, request_id))


async def _known(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.CarraraError)  # noqa: S101  # registered for this kind only
    headers = {}
    if isinstance(error, errors.Unavailable):
        headers["Retry-After"] = str(error.retry_after_seconds)
    elif isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="carrara"'
    elif error.code == "in_flight":
        headers["Retry-After"] = "1"
    return _answer(problem_of(error, _request_id(request)), headers)


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for this kind only
    issues = [
        ProblemIssue(
            where=".".join(str(part) for part in (*found["loc"], *found.get("ctx", {}).get("place", ()))),
            message=found["msg"],
            code=found["type"],
        )
        for found in error.errors()
    ]
    first = issues[0]
    code = BAD_VALUE if first.code == BAD_VALUE else "invalid"
    return _answer(
        Problem(
            type=f"urn:carrara:problem:{code}",
            title="invalid request",
            status=422,
            detail=f"{first.where}: {first.message}" + (f" (and {len(issues) - 1} more)" if len(issues) > 1 else ""),
            code=code,
            kind="invalid",
            issues=issues,
            request_id=_request_id(request),
        )
    )


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for this kind only
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    detail = {404: f"no such address: {request.url.path}; /openapi.json has all of them"}.get(
        error.status_code, str(error.detail)
    )
    return _answer(
        Problem(
            type=f"urn:carrara:problem:{code}",
            title=code.replace("_", " "),
            status=error.status_code,
            detail=detail,
            code=code,
            kind=code,
            request_id=_request_id(request),
        ),
        dict(error.headers or {}),
    )


async def _unknown(request: Request, error: Exception) -> JSONResponse:
    request_id = _request_id(request)
    _log.error("request %s failed: %s", request_id, error, exc_info=error)
    return _answer(
        Problem(
            type="urn:carrara:problem:internal",
            title="internal error",
            status=500,
            detail=f"this is a fault of Carrara's; the platform's log has it under request {request_id}",
            code="internal",
            kind="internal",
            request_id=request_id,
        )
    )


def _answer(problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(
        problem.model_dump(mode="json"), status_code=problem.status, media_type=MEDIA_TYPE, headers=headers
    )


def _request_id(request: Request) -> str | None:
    value = request.scope.get("carrara.request_id")
    return str(value) if value else None
