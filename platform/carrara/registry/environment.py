"""Which Python and which packages a model is loaded with, as a document with a digest (part of every release)."""

import importlib.metadata
import platform
import re
from collections.abc import Iterable
from functools import cache

from carrara.kernel.digests import Digest, canonical_json, digest_bytes

_OWN = "carrara"


@cache
def environment_document() -> bytes:
    """The packages of this environment as canonical JSON: sorted `name==version`, Carrara's own left out.

    Ours is left out so that an upgrade of the platform alone leaves a model's environment what it was.
    """
    pairs = ((found.name, found.version) for found in importlib.metadata.distributions())
    return canonical_json(pinned(pairs))


def environment_digest() -> Digest:
    """The digest of `environment_document()`."""
    return digest_bytes(environment_document())


def python_version() -> str:
    """As a release names it: 3.11.7."""
    return platform.python_version()


def pinned(distributions: Iterable[tuple[str, str]]) -> list[str]:
    """Sorted `name==version` with names normalised as PEP 503 says; one found twice on the path counts once."""
    names = {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in distributions}
    return sorted(f"{name}=={version}" for name, version in names if name != _OWN)
