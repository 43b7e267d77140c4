"""Whether answers are the golden ones: labels alike, numbers within the tolerance."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def first_difference(
    expected: Mapping[str, Sequence[Any]], got: Mapping[str, Sequence[Any]], absolute_tolerance: float
) -> str | None:
    """Where `got` departs from `expected` (outputs by name, one entry a row), in words; None if nowhere.

    Numbers may differ by `absolute_tolerance`, in lists and objects too. An output that only one side has is a
    difference. Booleans and text must be equal.
    """
    if set(expected) != set(got):
        return f"expected the outputs {sorted(expected)}, got {sorted(got)}"
    for name, values in expected.items():
        if len(values) != len(got[name]):
            return f"{name}: expected {len(values)} rows, got {len(got[name])}"
        for row, (wanted, found) in enumerate(zip(values, got[name], strict=True)):
            if not _alike(wanted, found, absolute_tolerance):
                return f"row {row}, {name}: expected {_shown(wanted)}, got {_shown(found)}"
    return None


def _alike(wanted: Any, found: Any, tolerance: float) -> bool:
    if isinstance(wanted, bool) or isinstance(found, bool):
        return wanted is found
    if isinstance(wanted, (int, float)) and isinstance(found, (int, float)):
        return wanted == found or math.isclose(wanted, found, rel_tol=0.0, abs_tol=tolerance)
    if isinstance(wanted, list) and isinstance(found, list):
        pairs = zip(wanted, found, strict=False)
        return len(wanted) == len(found) and all(_alike(one, other, tolerance) for one, other in pairs)
    if isinstance(wanted, dict) and isinstance(found, dict):
        return wanted.keys() == found.keys() and all(_alike(wanted[key], found[key], tolerance) for key in wanted)
    return bool(wanted == found)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
