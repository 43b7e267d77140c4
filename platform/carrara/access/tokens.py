"""API tokens: `carrara_<8 characters to find it by>_<43 secret characters>`. Only the SHA-256 is kept.

256 random bits need no slow hash: there is nothing to guess (faults.md, S04).
"""

import hashlib
import secrets
from dataclasses import dataclass, field

PREFIX = "carrara_"


@dataclass(frozen=True)
class NewToken:
    """A token at the only moment when its secret is known."""

    secret: str = field(repr=False)
    prefix: str
    hash: str


def new_token() -> NewToken:
    """A token with 256 random bits."""
    visible = secrets.token_hex(4)
    secret = f"{PREFIX}{visible}_{secrets.token_urlsafe(32)}"
    return NewToken(secret=secret, prefix=PREFIX + visible, hash=hash_token(secret))


def hash_token(secret: str) -> str:
    """What is stored and looked up: SHA-256, hex."""
    return hashlib.sha256(secret.encode()).hexdigest()
