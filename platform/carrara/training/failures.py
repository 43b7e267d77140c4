"""A training that cannot succeed whatever the platform does: the data, the spec or the user's code is at fault."""

from carrara.kernel.errors import CarraraError


class TrainingFault(CarraraError):  # noqa: N818  # kinds read as sentences, as in kernel.errors
    """The job fails with `code` as its reason and is not tried again."""

    default_code = "cannot_train"
