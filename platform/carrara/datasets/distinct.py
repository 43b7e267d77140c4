"""How many different values there are, in bounded memory: exact while they are few, then estimated.

The estimate is that of the k smallest hash values (Beyer, Haas, Reinwald, Sismanis, Gemulla, "On synopses for
distinct-value estimation under multiset operations", SIGMOD 2007, section 3.2): (k - 1) / U(k), U(k) the k-th smallest
hash as a fraction of the hash range; its relative standard error is about 1 / sqrt(k - 2).
"""

import hashlib
from collections.abc import Iterable

import numpy as np

KEPT_HASHES = 16_384
RELATIVE_ERROR = round((KEPT_HASHES - 2) ** -0.5, 4)


class DistinctCount:
    """Counts the different values among those it is shown; up to `KEPT_HASHES` exactly."""

    def __init__(self) -> None:
        self._smallest = np.empty(0, dtype=np.uint64)

    def see_bits(self, values: np.ndarray) -> None:
        """Values of 64 bits; equal values have equal bits."""
        self._see(_mix(np.ascontiguousarray(values).view(np.uint64)))

    def see_texts(self, values: Iterable[str]) -> None:
        hashes = [hashlib.blake2b(value.encode(), digest_size=8).digest() for value in values]
        self._see(np.frombuffer(b"".join(hashes), dtype=np.uint64))

    @property
    def is_exact(self) -> bool:
        return self._smallest.size < KEPT_HASHES

    @property
    def count(self) -> int:
        if self.is_exact:
            return int(self._smallest.size)
        return round((KEPT_HASHES - 1) * 2.0**64 / float(self._smallest[-1]))

    def _see(self, hashes: np.ndarray) -> None:
        if not self.is_exact:
            hashes = hashes[hashes < self._smallest[-1]]
        if hashes.size:
            self._smallest = np.unique(np.concatenate((self._smallest, hashes)))[:KEPT_HASHES]


def _mix(bits: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea, Flood, OOPSLA 2014): a bijection, so different values never collide."""
    mixed = bits + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    scattered: np.ndarray = mixed ^ (mixed >> np.uint64(31))
    return scattered
