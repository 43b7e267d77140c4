"""Exit codes of every command, documented in docs/reference/cli.md. CI jobs branch on them."""

from enum import IntEnum

from carrara.kernel import errors


class Exit(IntEnum):
    OK = 0
    FAULT = 1
    USAGE = 2
    ROLLED_BACK = 3
    HELD = 4
    REFUSED = 5
    JOB_FAILED = 6
    NOT_FOUND = 7
    NOT_ALLOWED = 8
    UNAVAILABLE = 9
    INVALID = 10
    CONFLICT = 11


MEANING = {
    Exit.OK: "done",
    Exit.FAULT: "an unexpected fault; for `status`: something is degraded",
    Exit.USAGE: "the command line is wrong",
    Exit.ROLLED_BACK: "the promotion failed, what was live before is live; for `status`: nothing runs",
    Exit.HELD: "could not tell: a gate or a rollout lacks evidence",
    Exit.REFUSED: "a rule says no: a gate failed, an approval is missing, nothing to roll back to",
    Exit.JOB_FAILED: "the job failed or was cancelled",
    Exit.NOT_FOUND: "no such thing, or not yours to see",
    Exit.NOT_ALLOWED: "no valid token, or no role that allows it",
    Exit.UNAVAILABLE: "the platform, or something that it needs, does not answer",
    Exit.INVALID: "the input is wrong; each fault is named",
    Exit.CONFLICT: "the world has moved: someone else was first, or a name is taken",
}

_OF_KIND: dict[str, Exit] = {
    errors.NotFound.default_code: Exit.NOT_FOUND,
    errors.Unauthenticated.default_code: Exit.NOT_ALLOWED,
    errors.Forbidden.default_code: Exit.NOT_ALLOWED,
    errors.Unavailable.default_code: Exit.UNAVAILABLE,
    errors.Invalid.default_code: Exit.INVALID,
    errors.TooLarge.default_code: Exit.INVALID,
    errors.Conflict.default_code: Exit.CONFLICT,
    errors.Refused.default_code: Exit.REFUSED,
}


def exit_of(error: errors.CarraraError) -> Exit:
    """The exit code for a failure, by its kind."""
    return _OF_KIND.get(error.kind, Exit.FAULT)
