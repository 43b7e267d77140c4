"""Names that people give: slugs, safe in a path, a header, a page and a file name. Immutable and never reused."""

import re
from typing import Annotated, NewType

from pydantic import StringConstraints

from carrara.kernel.errors import Invalid, Issue

Slug = NewType("Slug", str)

SLUG_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
SlugField = Annotated[str, StringConstraints(pattern=SLUG_PATTERN, max_length=63)]

_SLUG = re.compile(SLUG_PATTERN.rstrip("$") + r"\Z")


def check_slug(value: str, what: str) -> Slug:
    """The name if it is a slug; otherwise `Invalid`, naming `what` it was meant to name."""
    if _SLUG.match(value):
        return Slug(value)
    shown = value if len(value) <= 80 else value[:77] + "..."
    issue = Issue(where=what, message=f"{shown!r} is not a name", code="bad_name")
    raise Invalid(
        f"{what} name {shown!r}: expected 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit",
        code="bad_name",
        issues=[issue],
    )
