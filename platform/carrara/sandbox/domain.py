"""What a confined child is asked for, what may hold it, and how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class Level(StrEnum):
    """How much holds a child. The order is `STRICT` > `STANDARD` > `NONE`."""

    STRICT = "strict"
    STANDARD = "standard"
    NONE = "none"


class Layer(StrEnum):
    """One mechanism of the kernel's. None of them suffices alone."""

    OWN_UID = "own uid"
    USER_NAMESPACE = "user namespace"
    PID_NAMESPACE = "pid namespace"
    NETWORK_NAMESPACE = "network namespace"
    MOUNT_VIEW = "mount view"
    LANDLOCK = "landlock"
    SECCOMP = "seccomp"
    MEMORY_CGROUP = "memory cgroup"
    PIDS_CGROUP = "pids cgroup"


@dataclass(frozen=True)
class Limits:
    """What a child may use. `None` is no limit.

    `memory_bytes` is what the child and its processes hold beyond what they share with the forkserver (control group),
    or their proportional set size where no control group can be made. `processes` counts threads too.
    `file_bytes` is the size of the largest file that it may write.
    """

    wall_seconds: float | None
    memory_bytes: int
    processes: int
    file_bytes: int
    cpu_seconds: int | None = None


@dataclass(frozen=True)
class ChildTask:
    """One function to run in a child of its own.

    `entry` is `package.module:function`, called as `function(channel)`; `argument` is JSON-able and arrives as
    `channel.argument`. `read_paths` must be readable by others (mode o+r, folders o+rx) when the child has its own
    uid; folders above them need not be. `write_paths` are given to the child's uid with all that is in them.
    `level` is the least that is accepted: more is applied where the machine has it, except at `NONE`, which applies
    nothing. `{relay_port}` in a value of `environment` becomes the port at which `platform_address` answers.
    HOME and TMPDIR are a private folder that is removed at the end, unless `environment` names others.
    """

    entry: str
    argument: Mapping[str, Any]
    read_paths: tuple[Path, ...]
    write_paths: tuple[Path, ...]
    limits: Limits
    level: Level
    environment: Mapping[str, str] = field(default_factory=dict)
    import_paths: tuple[Path, ...] = ()
    allow_fork: bool = True
    platform_address: tuple[str, int] | None = None


class ExitKind(StrEnum):
    """Why a child is no more."""

    FINISHED = "finished"
    RAISED = "raised"
    EXITED = "exited"
    KILLED = "killed"
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True)
class ChildExit:
    """How a child ended.

    `code` is what it passed to exit, `signal` what killed it. `message` is for people; `traceback` and `error_type`
    (`module.Name`) are set when an exception left the entry. `peak_memory_bytes` is measured as `Limits.memory_bytes`
    is; for a child too short to be measured it is the kernel's largest resident set, shared pages included.
    """

    kind: ExitKind
    code: int | None = None
    signal: int | None = None
    peak_memory_bytes: int = 0
    message: str = ""
    traceback: str = ""
    error_type: str = ""


@dataclass(frozen=True)
class LayerState:
    """Whether this machine and user have a layer. `detail` says what it is, or why not and what would mend it."""

    layer: Layer
    available: bool
    detail: str


@dataclass(frozen=True)
class Capabilities:
    """What can hold a child here."""

    as_root: bool
    layers: tuple[LayerState, ...]

    def has(self, layer: Layer) -> bool:
        return any(state.available for state in self.layers if state.layer is layer)

    def missing(self, level: Level) -> tuple[LayerState, ...]:
        """The layers that `level` cannot do without and that are not to be had."""
        required = _REQUIRED[level]
        if level is Level.STANDARD and self.as_root:
            required = required | {Layer.OWN_UID}  # a child that is still root would be held by Landlock alone
        return tuple(state for state in self.layers if state.layer in required and not state.available)

    @property
    def achieved(self) -> Level:
        """The highest level of which nothing is missing."""
        return next(level for level in Level if not self.missing(level))

    @property
    def confined_relay(self) -> bool:
        """Whether a child above `NONE` can be given `platform_address`: it takes a network of the child's own."""
        return self.has(Layer.NETWORK_NAMESPACE)


_REQUIRED: Mapping[Level, frozenset[Layer]] = {
    Level.STRICT: frozenset({Layer.OWN_UID, Layer.LANDLOCK, Layer.SECCOMP}),
    Level.STANDARD: frozenset({Layer.LANDLOCK, Layer.SECCOMP}),
    Level.NONE: frozenset(),
}


def applied_layers(level: Level, capabilities: Capabilities) -> frozenset[Layer]:
    """The layers a child of this level gets: every one the machine has; at `NONE` only those that enforce limits."""
    available = frozenset(state.layer for state in capabilities.layers if state.available)
    if level is Level.NONE:
        return available & {Layer.MEMORY_CGROUP, Layer.PIDS_CGROUP}
    if available & {Layer.OWN_UID, Layer.USER_NAMESPACE}:
        # RLIMIT_NPROC counts exactly then; joining a control group costs 15 ms each in version 1.
        return available - {Layer.PIDS_CGROUP}
    return available
