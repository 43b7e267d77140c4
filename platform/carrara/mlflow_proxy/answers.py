"""Errors as MLflow's clients read them: `{"error_code", "message"}`."""

from collections.abc import Mapping

from starlette.responses import JSONResponse

from carrara.kernel.errors import (
    CarraraError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Refused,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

_KINDS: Mapping[type[CarraraError], tuple[int, str]] = {
    Unauthenticated: (401, "UNAUTHENTICATED"),
    Forbidden: (403, "PERMISSION_DENIED"),
    NotFound: (404, "RESOURCE_DOES_NOT_EXIST"),
    Conflict: (409, "RESOURCE_CONFLICT"),
    Refused: (409, "INVALID_STATE"),
    Invalid: (400, "INVALID_PARAMETER_VALUE"),
    TooLarge: (413, "INVALID_PARAMETER_VALUE"),
    Unavailable: (503, "TEMPORARILY_UNAVAILABLE"),
}


def as_mlflow(error: CarraraError) -> JSONResponse:
    """The error in MLflow's form."""
    status, code = next((_KINDS[kind] for kind in type(error).__mro__ if kind in _KINDS), (500, "INTERNAL_ERROR"))
    headers = {}
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = 'Basic realm="carrara"'
    if isinstance(error, Unavailable):
        headers["retry-after"] = str(error.retry_after_seconds)
    return JSONResponse({"error_code": code, "message": error.message}, status, headers)


def not_allowed(method: str, path: str) -> JSONResponse:
    """For what is not on the list of routes."""
    message = (
        f"{method} {path[:200]} is not possible through Carrara. Runs, artifacts, models and versions can be written"
        " and read; aliases, stages and deletes are done by Carrara's own API: promote, roll back, retire"
    )
    return JSONResponse({"error_code": "PERMISSION_DENIED", "message": message}, 403)
