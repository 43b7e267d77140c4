"""What a pickle would import if it were loaded, read from its opcodes without loading it.

Advice only: pickles that hide their imports are known (faults.md, S19). What holds is the confined child.
"""

import pickletools
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from typing import Any

MAX_OPCODES = 5_000_000
_NEWEST_PROTOCOL = 5
_UNREADABLE_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    ArithmeticError,
    MemoryError,
    AttributeError,
    zlib.error,
)
_UNREADABLE = "(an import that could not be read)"
_STRINGS = frozenset(
    {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
)
_CALLS = frozenset({"REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD", "GLOBAL", "STACK_GLOBAL", "EXT1"})
_DANGEROUS = re.compile(
    r"(os|posix|nt|sys|subprocess|_posixsubprocess|shutil|pty|ctypes|_ctypes|importlib|runpy|code|codeop|pdb|bdb|timeit"
    r"|platform|multiprocessing|signal|fcntl|mmap|resource|threading|_thread|asyncio|gc|inspect|atexit|site|zipimport"
    r"|pkgutil|imp|socket|selectors|ssl|http|urllib|urllib3|requests|httpx|aiohttp|ftplib|smtplib|telnetlib|webbrowser"
    r"|commands|thread|httplib|urllib2|xmlrpclib|xmlrpc|cPickle"  # as Python 2 named them: protocols 0 to 2 are mapped
    r"|pip|venv|ensurepip|pickle|_pickle|dill|tempfile|pathlib|io|_io|glob|fileinput|linecache)\..*"
    r"|(builtins|__builtin__|__builtins__)\.(eval|exec|compile|open|__import__|globals|locals|vars|setattr|delattr|input)"
)


@dataclass(frozen=True)
class PickleFindings:
    """`imports` in the order of the file; `dangerous` those that run programs, open files or connections.

    `is_pickle`: it begins as one, or reads as one to its end and would call something. `broken` says why reading
    stopped early.
    """

    imports: tuple[str, ...]
    dangerous: tuple[str, ...]
    is_pickle: bool
    broken: str | None


def scan(stream: BufferedReader) -> PickleFindings:
    """Reads every pickle in the stream, one after another as `joblib` writes them, up to `MAX_OPCODES`."""
    found: dict[str, None] = {}
    is_marked = calls = is_complete = False
    broken: str | None = None
    stack: list[str | None] = []
    memo: dict[int, str | None] = {}
    try:
        for count, (name, argument) in enumerate(_opcodes(stream)):
            is_marked = is_marked or (count == 0 and name == "PROTO" and argument <= _NEWEST_PROTOCOL)
            calls = calls or name in _CALLS
            is_complete = is_complete or name == "STOP"
            imported = _follow(name, argument, stack, memo)
            if imported is not None:
                found[imported] = None
    except _UNREADABLE_ERRORS as error:
        broken = f"{type(error).__name__}: {error}"[:200]
    imports = tuple(found)
    dangerous = tuple(name for name in imports if is_dangerous(name))
    return PickleFindings(imports, dangerous, is_marked or (is_complete and calls), broken)


def is_dangerous(name: str) -> bool:
    """Whether `module.attribute` is a way out of the process. False means nothing."""
    return name == _UNREADABLE or _DANGEROUS.fullmatch(name) is not None


def _opcodes(stream: BufferedReader) -> Iterator[tuple[str, Any]]:
    count = 0
    while stream.peek(1):
        for opcode, argument, _ in pickletools.genops(stream):
            count += 1
            if count > MAX_OPCODES:
                raise ValueError(f"more than {MAX_OPCODES} opcodes")
            yield opcode.name, argument


def _follow(name: str, argument: Any, stack: list[str | None], memo: dict[int, str | None]) -> str | None:
    """Keeps the texts that STACK_GLOBAL would take; gives the import that this opcode makes, if it makes one."""
    if name in _STRINGS:
        stack.append(argument if isinstance(argument, str) else str(argument))
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1] if stack else None
    elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
        memo[int(argument)] = stack[-1] if stack else None
    elif name in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(memo.get(int(argument)))
    elif name in ("GLOBAL", "INST"):
        return str(argument).replace(" ", ".", 1)
    elif name in ("EXT1", "EXT2", "EXT4"):
        return _UNREADABLE
    elif name == "STACK_GLOBAL":
        taken = stack[-2:]
        del stack[-2:]
        stack.append(None)
        if len(taken) < 2 or None in taken:
            return _UNREADABLE
        return ".".join(str(part) for part in taken)
    elif name not in ("PROTO", "FRAME", "MARK", "POP", "STOP"):
        stack.append(None)
    return None
