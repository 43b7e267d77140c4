"""What attacks share: raw system calls, and finding the attacks of a module."""

import ctypes
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

from carrara.sandbox.syscall_numbers import numbers

Target = dict[str, Any]
Attack = Callable[[Target], str | None]

libc = ctypes.CDLL(None, use_errno=True)
_NUMBERS = numbers()


def syscall(name: str, *arguments: Any) -> int:
    result = libc.syscall(_NUMBERS[name], *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def attacks_in(module: ModuleType) -> dict[str, Attack]:
    """Every function of the module that takes a target."""
    return {
        name: function
        for name, function in vars(module).items()
        if getattr(function, "__module__", "") == module.__name__
        and getattr(function, "__annotations__", {}).get("target") == Target
    }
