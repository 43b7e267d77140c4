"""A mount view: a root directory in which only what a child may see exists, at the paths where it always was.

It hides the folders above (a checkout below a closed home works), every socket and device, and makes what is read
read-only to chmod too, which Landlock does not.
"""

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from carrara.sandbox import syscalls
from carrara.sandbox.exposure import DEVICES, Exposure, Tree

_READ_ONLY = syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV
_WRITABLE = syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV


@dataclass(frozen=True)
class ViewRequest:
    """`mount_point` is any existing folder. `shared_memory_bytes` is the size of /dev/shm.

    `own_processes`: the process is in a pid namespace of its own, so /proc can show that one.
    """

    mount_point: Path
    exposure: Exposure
    uid: int
    own_processes: bool
    shared_memory_bytes: int


def enter_view(request: ViewRequest) -> bool:
    """Gives this process and its children the view, in a mount namespace of their own.

    Whether /proc shows only this pid namespace; else it is the machine's (in containers that mask parts of /proc).
    OSError when the kernel refuses a step.
    """
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    root = request.mount_point
    syscalls.mount("tmpfs", str(root), "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=755,size=1m")
    builder = _Builder(root)
    builder.add_accounts(request.uid)
    builder.add_devices(request.shared_memory_bytes)
    private = builder.add_proc(request.own_processes)
    writes = {tree.real for tree in request.exposure.writes}
    for tree in sorted((*request.exposure.reads, *request.exposure.writes), key=lambda tree: len(tree.real.parts)):
        builder.add(tree, writable=tree.real in writes)
    (root / "tmp").mkdir(exist_ok=True)
    syscalls.set_mount_attributes(str(root), _READ_ONLY, recursive=False)
    syscalls.change_root(str(root))
    return private


@dataclass
class _Builder:
    root: Path
    mounted: dict[Path, bool] = field(default_factory=dict)  # real path -> writable

    def _inside(self, path: Path) -> Path:
        return self.root / path.relative_to("/")

    def _nearest(self, path: Path) -> Path | None:
        return next((above for above in (path, *path.parents) if above in self.mounted), None)

    def _bind(self, source: Path, attributes: int | None) -> None:
        target = self._inside(source)
        if not os.path.lexists(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                target.mkdir()
            else:
                target.touch()
        syscalls.mount(str(source), str(target), None, syscalls.MS_BIND | syscalls.MS_REC)
        if attributes is not None:
            syscalls.set_mount_attributes(str(target), attributes)

    def add(self, tree: Tree, *, writable: bool) -> None:
        for link, target in tree.links:
            place = self._inside(link)
            if self._nearest(link) is None and not os.path.lexists(place):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(target)
        nearest = self._nearest(tree.real)
        if nearest is not None and self.mounted[nearest] == writable:
            return
        self._bind(tree.real, _WRITABLE if writable else _READ_ONLY)
        self.mounted[tree.real] = writable

    def add_accounts(self, uid: int) -> None:
        """The child's own uid has a name, which `getpass` and `pwd` ask for; the machine's accounts stay unknown."""
        (self.root / "etc").mkdir()
        passwd, group = self.root / "etc" / "passwd", self.root / "etc" / "group"
        passwd.write_text(f"carrara:x:{uid}:{uid}::/tmp:/nonexistent\n")
        group.write_text(f"carrara:x:{uid}:\n")

    def add_devices(self, shared_memory_bytes: int) -> None:
        for device in DEVICES:
            self._bind(device, None)
        shared = self.root / "dev" / "shm"
        shared.mkdir()
        options = f"mode=1777,size={max(shared_memory_bytes, 1 << 20)}"
        syscalls.mount("tmpfs", str(shared), "tmpfs", _no_programs(), options)
        for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
            (self.root / "dev" / name).symlink_to(f"/proc/self/{target}")

    def add_proc(self, own_processes: bool) -> bool:
        place = self.root / "proc"
        place.mkdir()
        if own_processes:
            with contextlib.suppress(PermissionError):
                syscalls.mount("proc", str(place), "proc", _no_programs())
                return True
        syscalls.mount("/proc", str(place), None, syscalls.MS_BIND | syscalls.MS_REC)
        return False


def _no_programs() -> int:
    return syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
