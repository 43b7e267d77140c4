"""How a model can fail. The edge answers 502 or 503 for these: none of them is the caller's fault."""

from carrara.kernel.errors import CarraraError


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
