"""Which files a confined child may see: the interpreter, the system's libraries, and what its task names."""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from carrara.kernel.errors import Invalid

# Folders where they exist. /nix/store and /gnu/store hold the libraries on such systems.
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin", "/nix/store", "/gnu/store")
_SETTINGS = (
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime", "/etc/timezone",
    "/etc/nsswitch.conf", "/etc/host.conf", "/etc/hosts", "/etc/gai.conf", "/etc/mime.types", "/etc/protocols",
    "/etc/services", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted",
    "/etc/fonts", "/etc/os-release", "/etc/debian_version",
)  # fmt: skip
# Numbers and topology of the processors: OpenMP, OpenBLAS, joblib and ONNX Runtime look here.
_HARDWARE = ("/sys/devices", "/sys/bus/pci", "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage")
_OWN_PROC = (
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems",
    "/proc/sys/vm", "/proc/sys/kernel", "/proc/loadavg", "/proc/uptime",
)  # fmt: skip
DEVICES = tuple(Path("/dev", name) for name in ("null", "zero", "full", "random", "urandom"))


@dataclass(frozen=True)
class Tree:
    """A file or a folder with all below it. `links` are the symbolic links on the way, each with where it points."""

    path: Path
    real: Path
    links: tuple[tuple[Path, str], ...]


@dataclass(frozen=True)
class Exposure:
    """Trees that a child may read, and trees that it may write."""

    reads: tuple[Tree, ...]
    writes: tuple[Tree, ...]


def exposure_of(machine: Iterable[Tree], reads: Iterable[Path], writes: Iterable[Path]) -> Exposure:
    """The machine's own trees and these. `Invalid` for a path that is relative, missing, or the root."""
    return Exposure(
        reads=(*machine, *(_checked(path) for path in reads)), writes=tuple(_checked(path) for path in writes)
    )


def machine_trees() -> tuple[Tree, ...]:
    """What every child may read. It takes milliseconds, so it is found once, after all that is preloaded is loaded."""
    names = [Path(name) for name in (*_SYSTEM, *_SETTINGS, *_HARDWARE)]
    found = [tree_of(path) for path in dict.fromkeys((*names, *_interpreter_trees())) if path.exists()]
    roots = {tree.real for tree in found}
    covered = {real for real in roots if any(above in roots for above in real.parents)}
    return tuple(tree for tree in found if tree.links or tree.real not in covered)


def tree_of(path: Path) -> Tree:
    return Tree(path, path.resolve(), tuple(_links_in(path)))


def own_proc() -> tuple[Path, ...]:
    """What a child needs of /proc where that shows the whole machine."""
    return tuple(Path(name) for name in _OWN_PROC)


def _checked(path: Path) -> Tree:
    if not path.is_absolute() or path == Path("/") or ".." in path.parts:
        raise Invalid(f"a child cannot be given {path}: expected an absolute path below the root, without '..'")
    if not os.path.lexists(path):
        raise Invalid(f"a child was to be given {path}, which does not exist", code="no_such_path")
    return tree_of(path)


def _interpreter_trees() -> Iterator[Path]:
    for prefix in (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix):
        if len(Path(prefix).parts) > 1:
            yield Path(prefix)
    for entry in sys.path:
        path = Path(entry)
        if path.is_absolute() and len(path.parts) > 1:
            yield path
    yield from _loaded_libraries()


def _loaded_libraries() -> Iterator[Path]:
    """Folders of the shared objects that are loaded now: they may come from anywhere the linker was told to look."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return
    seen = set()
    for line in maps.read_text(errors="surrogateescape").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and "x" in fields[1] and fields[5].startswith("/"):
            seen.add(Path(fields[5]).parent)
    yield from (folder for folder in sorted(seen) if len(folder.parts) > 1 and folder.is_dir())


def closed_to_others(path: Path) -> Path | None:
    """The first folder above `path`, symbolic links followed, that another uid cannot pass; None if all are open."""
    for folder in reversed(path.resolve().parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None


def unreadable_to_others(path: Path) -> bool:
    """Whether `path` itself, whatever lies above it, is closed to another uid."""
    mode = path.stat().st_mode
    wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
    return mode & wanted != wanted


def _links_in(path: Path) -> Iterator[tuple[Path, str]]:
    """Every symbolic link that is met on the way to `path`, with where it points."""
    current, pending = Path("/"), list(path.parts[1:])
    for _ in range(1000):
        if not pending:
            return
        part = pending.pop(0)
        if part == "..":
            current = current.parent
            continue
        step = current / part
        if not step.is_symlink():
            current = step
            continue
        target = str(step.readlink())
        yield step, target
        parts = Path(target).parts
        if target.startswith("/"):
            current, pending = Path("/"), [*parts[1:], *pending]
        else:
            pending = [*parts, *pending]
