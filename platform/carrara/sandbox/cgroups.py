"""Control groups, version 1 or 2, where we may make them: memory that the kernel itself holds to its limit."""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "carrara-"
_PAGE_BYTES = 4096


@dataclass(frozen=True)
class Hierarchy:
    """A folder in which our groups are made. `version` is 1 or 2; in version 2 one folder serves both controllers."""

    version: int
    folder: Path


@dataclass(frozen=True)
class ControlGroups:
    """Where groups for memory and for the number of processes can be made; None where they cannot."""

    memory: Hierarchy | None
    pids: Hierarchy | None

    def make(self, name: str, *, memory_bytes: int, processes: int) -> "Group":
        """A group with these limits. OSError if the kernel refuses; nothing is left behind then."""
        made: list[Path] = []
        try:
            memory = _make(self.memory, name, made)
            pids = _make(self.pids, name, made)
            if memory is not None and self.memory is not None:
                _limit_memory(memory, self.memory.version, memory_bytes)
            if pids is not None:
                (pids / "pids.max").write_text(str(processes))
        except OSError:
            for folder in made:
                folder.rmdir()
            raise
        return Group(memory, self.memory.version if self.memory else 0, tuple(made))

    def sweep(self) -> None:
        """Removes the empty groups of forkservers that are no more."""
        for hierarchy in {place for place in (self.memory, self.pids) if place}:
            for folder in hierarchy.folder.glob(f"{_PREFIX}*"):
                owner = re.match(rf"{_PREFIX}(\d+)-", folder.name)
                if owner and not Path("/proc", owner[1]).exists():
                    with contextlib.suppress(OSError):  # somebody in it is still dying: the next start finds it
                        folder.rmdir()


@dataclass(frozen=True)
class Group:
    """The group of one child. `memory` is its folder in the memory hierarchy, None without one."""

    memory: Path | None
    version: int
    folders: tuple[Path, ...]

    @property
    def kills_as_one(self) -> bool:
        """Whether the kernel, out of memory, kills all of the group rather than one process of it."""
        return self.version == 2

    def open_doors(self) -> list[int]:
        """Descriptors to which a process writes `0` to come in, with all its later children."""
        return [os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for folder in self.folders]

    def peak_bytes(self) -> int:
        """The most that was held so far; 0 where the kernel does not say (version 2 before Linux 5.19)."""
        if self.memory is None:
            return 0
        name = "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"
        try:
            return int((self.memory / name).read_text())
        except OSError:
            return 0

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel has killed in this group for want of memory."""
        if self.memory is None:
            return False
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        counts = dict(line.split(maxsplit=1) for line in (self.memory / name).read_text().splitlines())
        return int(counts.get("oom_kill", 0)) > 0

    def remove(self) -> bool:
        """Whether it is gone; not while one of its processes is still dying."""
        for folder in self.folders:
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                return False
        return True


def group_name(owner_pid: int, number: int) -> str:
    """The name of a forkserver's n-th group, by which `sweep` knows it."""
    return f"{_PREFIX}{owner_pid}-{number}"


def find_control_groups() -> tuple[ControlGroups, str, str]:
    """What can be used here, with a sentence each on memory and on pids for those who ask why."""
    if not Path("/proc/self/cgroup").exists():
        return ControlGroups(None, None), "there are no control groups", "there are no control groups"
    memory, memory_reason = _usable("memory", "memory.max", "memory.limit_in_bytes")
    pids, pids_reason = _usable("pids", "pids.max", "pids.max")
    return ControlGroups(memory, pids), memory_reason, pids_reason


def _usable(controller: str, file_v2: str, file_v1: str) -> tuple[Hierarchy | None, str]:
    reasons = []
    for version, folder in _own_folders(controller):
        probe = folder / f"{_PREFIX}{os.getpid()}-probe"
        try:
            probe.mkdir()
        except OSError as error:
            reasons.append(f"cannot make a group in {folder}: {error.strerror}")
            continue
        try:
            limit = probe / (file_v1 if version == 1 else file_v2)
            limit.write_text(limit.read_text())
        except OSError as error:
            reasons.append(f"{folder} does not delegate the {controller} controller: {error.strerror}")
        else:
            return Hierarchy(version, folder), f"version {version} at {folder}"
        finally:
            probe.rmdir()
    return None, "; ".join(reasons) or f"no hierarchy with the {controller} controller is mounted"


def _own_folders(controller: str) -> list[tuple[int, Path]]:
    """The folders of this process's own group, in the hierarchies that may have the controller."""
    mounts = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(maxsplit=2)
        mounts[kind, options] = (before.split()[3], Path(before.split()[4]))
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for (kind, options), (root, place) in mounts.items():
            inside = Path("/" + os.path.relpath(path, root)) if path.startswith(root) else Path("/")
            if kind == "cgroup2" and controllers == "":
                found.append((2, place / inside.relative_to("/")))
            elif kind == "cgroup" and controller in controllers.split(",") and controller in options.split(","):
                found.append((1, place / inside.relative_to("/")))
    return [(version, folder.resolve()) for version, folder in found if folder.is_dir()]


def _make(hierarchy: Hierarchy | None, name: str, made: list[Path]) -> Path | None:
    if hierarchy is None:
        return None
    folder = hierarchy.folder / name
    if folder not in made:
        folder.mkdir()
        made.append(folder)
    return folder


def _limit_memory(folder: Path, version: int, memory_bytes: int) -> None:
    rounded = str(max(memory_bytes // _PAGE_BYTES, 1) * _PAGE_BYTES)
    if version == 1:
        (folder / "memory.limit_in_bytes").write_text(rounded)
        _write_if_there(folder / "memory.memsw.limit_in_bytes", rounded)
        return
    (folder / "memory.max").write_text(rounded)
    _write_if_there(folder / "memory.swap.max", "0")
    _write_if_there(folder / "memory.oom.group", "1")


def _write_if_there(path: Path, text: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.write_text(text)
