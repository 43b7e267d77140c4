"""The only table from kinds of failure to HTTP on the serving port. Every error body is a problem (RFC 9457)."""

from carrara.contracts.problem import Problem, describe
from carrara.inference import failures
from carrara.kernel import errors

MEDIA_TYPE = b"application/problem+json"
STATUS: dict[type[errors.CarraraError], int] = {
    failures.MalformedBody: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.TooLarge: 413,
    errors.Invalid: 422,
    failures.BadModelOutput: 502,
    failures.ModelRaised: 502,
    failures.ModelCrashed: 502,
    failures.ModelTooSlow: 504,
    errors.Unavailable: 503,
}
_BY_CODE = {"method_not_allowed": 405, "body_too_slow": 408, "unsupported_media_type": 415, "unknown_encoding": 415}
_OWN_KINDS = (errors.Invalid, errors.Unavailable)  # ours refine these; a client reacts to them alike


def problem_of(error: errors.CarraraError, request_id: str) -> Problem:
    """The wire form of a failure of ours."""
    status = _BY_CODE.get(error.code) or next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    kind = next((family.default_code for family in _OWN_KINDS if isinstance(error, family)), error.kind)
    return describe(error, status=status, kind=kind, request_id=request_id)


def headers_of(error: errors.CarraraError) -> list[tuple[bytes, bytes]]:
    """What a client should know beside the body: when to come again, or how to say who it is."""
    if isinstance(error, errors.Unavailable):
        return [(b"retry-after", str(error.retry_after_seconds).encode())]
    if isinstance(error, errors.Unauthenticated):
        return [(b"www-authenticate", b'Bearer realm="carrara"')]
    return []


def internal_error(request_id: str) -> Problem:
    """For what nobody foresaw."""
    return Problem(
        type="urn:carrara:problem:internal",
        title="internal error",
        status=500,
        detail=f"this is a fault of Carrara's; the log of serving has it under request {request_id}",
        code="internal",
        kind="internal",
        request_id=request_id,
    )
