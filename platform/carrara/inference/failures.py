"""What can go wrong between a request and its answer, beyond the kinds of the kernel. Whose fault it is decides."""

from carrara.kernel.errors import CarraraError, Invalid, Unavailable


class BadModelOutput(CarraraError):  # noqa: N818  # kinds read as sentences, as in kernel.errors
    """The model's answer is not what its contract says: NaN, Infinity, a wrong length, a value outside JSON."""

    default_code = "bad_model_output"


class ModelRaised(CarraraError):  # noqa: N818
    """The model's own code raised while it predicted."""

    default_code = "model_raised"


class LoadFailed(CarraraError):  # noqa: N818
    """The model folder cannot be turned into a model: the message has the exception and the file."""

    default_code = "load_failed"


class UnsafeModel(LoadFailed):
    """Loading it would run code, or make types, that Carrara's own list does not trust."""

    default_code = "unsafe_model"


class MalformedBody(Invalid):
    """The body is not what its headers say: no UTF-8, no JSON, broken gzip. HTTP 400, where a wrong value is 422."""

    default_code = "malformed_body"


class ModelUnavailable(Unavailable):
    """No model can answer just now; it may later. `code` says why: `not_ready`, `model_restarting`, `overloaded`."""

    default_code = "model_unavailable"


class ModelTooSlow(CarraraError):  # noqa: N818
    """No answer within the deadline. The caller gets 504; a child that is stuck was killed and is being replaced."""

    default_code = "deadline_exceeded"


class ModelCrashed(CarraraError):  # noqa: N818
    """The model's process died, or broke the protocol, with this request in its hands. It is being replaced."""

    default_code = "model_crashed"
