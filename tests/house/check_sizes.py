"""The size rules of the house: short files, short functions, empty `__init__`, no rooms for leftovers."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 50
LEFTOVER_ROOMS = {"utils", "util", "helpers", "common", "base", "manager", "managers", "misc"}
SIZED = ("platform/", "workers/", "deploy/", "tests/", "benchmarks/", "examples/")


def faults_of(path: Path) -> Iterator[str]:
    """What is wrong with one file, as `path: what`."""
    source = path.read_text(encoding="utf-8")
    lines = source.count("\n")
    if lines > MAX_FILE_LINES:
        yield f"{path}: {lines} lines, at most {MAX_FILE_LINES}"
    if path.name == "__init__.py" and source.strip():
        yield f"{path}: must be empty"
    if path.stem in LEFTOVER_ROOMS:
        yield f"{path}: name it for what it decides"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}"


def main() -> int:
    """Prints every fault; 1 if there is any."""
    listed = subprocess.run(["git", "ls-files", "*.py"], check=True, capture_output=True, text=True).stdout
    files = [Path(name) for name in listed.splitlines() if name.startswith(SIZED) and Path(name).exists()]
    faults = [fault for path in files for fault in faults_of(path)]
    faults += [
        f"{init}: shadows the standard library's platform or makes workers a package; remove it"
        for init in (Path("platform/__init__.py"), Path("workers/__init__.py"))
        if init.exists()
    ]
    print("\n".join(faults) or f"sizes: {len(files)} files are within the rules")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
