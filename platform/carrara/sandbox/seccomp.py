"""The system call filter: what the kernel refuses to a confined child whatever else fails.

A list of what is forbidden, since NumPy, Arrow and ONNX Runtime want more calls than anybody has listed; a call that
is newer than our list does not exist for the child. The program is classic BPF (Linux `filter.txt`, `seccomp(2)`):
each rule is a block that loads the call's number afresh, so no jump leaves its block.
"""

import ctypes
import errno
import functools
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from carrara.sandbox import syscalls
from carrara.sandbox.syscall_numbers import AUDIT_ARCH, NEWEST_JUDGED, numbers

FORBIDDEN = (
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd", "mount", "umount2",
    "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr",
    "statmount", "listmount", "unshare", "setns", "bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key",
    "request_key", "io_uring_setup", "io_uring_enter", "io_uring_register", "init_module", "finit_module",
    "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "acct", "quotactl",
    "quotactl_fd", "syslog", "iopl", "ioperm", "settimeofday", "clock_settime", "adjtimex", "clock_adjtime",
    "sethostname", "setdomainname", "vhangup", "modify_ldt", "personality", "lookup_dcookie", "nfsservctl",
    "name_to_handle_at", "open_by_handle_at", "fanotify_init", "move_pages", "migrate_pages", "execve", "execveat",
    "memfd_secret", "mknod", "mknodat", "setxattr", "lsetxattr", "fsetxattr", "setxattrat", "removexattr",
    "lremovexattr", "fremovexattr", "removexattrat",
)  # fmt: skip
_FILE_MODES = (
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat", "utime", "utimes",
    "futimesat", "utimensat",
)  # fmt: skip

# Calls with the place of the argument that names another process of the same user; only 0, oneself, passes.
_NAMING_A_PROCESS = {
    "prlimit64": 0, "setpriority": 1, "ioprio_set": 1, "sched_setscheduler": 0, "sched_setparam": 0, "sched_setattr": 0,
}  # fmt: skip

_NAMESPACE_FLAGS = 0x7E02_0000  # every CLONE_NEW* that clone() takes
_CLONE_THREAD = 0x1_0000
_AF_UNIX, _AF_INET = 1, 2
_SOCK_STREAM, _SOCK_SEQPACKET = 1, 5
_SOCK_TYPE_MASK = 0xF

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06  # BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_RET|K
_EQUAL, _GREATER, _ANY_BIT = 0x15, 0x25, 0x45  # BPF_JMP|K with JEQ, JGT, JSET
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16  # offsets in struct seccomp_data
ALLOW = 0x7FFF_0000
KILL_PROCESS = 0x8000_0000
_ERRNO = 0x0005_0000

_SET_MODE_FILTER = 1
_FLAG_TSYNC = 1


@dataclass(frozen=True)
class Instruction:
    """One `struct sock_filter`. `on_true` and `on_false` are how many instructions a jump passes over."""

    code: int
    value: int
    on_true: int = 0
    on_false: int = 0


@dataclass(frozen=True)
class Profile:
    """What differs between children.

    `tcp` lets sockets be made: only for a network of the child's own. `ignore_file_modes` answers chmod, chown and
    utime with success without doing them, where neither a uid nor a mount view keeps the child from other files:
    refusing them would break `shutil.copy`.
    """

    allow_fork: bool = True
    tcp: bool = False
    ignore_file_modes: bool = False


def _answer(code: int) -> Instruction:
    return Instruction(_RETURN, _ERRNO | code)


def _load_argument(index: int) -> Instruction:
    return Instruction(_LOAD, _ARGUMENTS_AT + 8 * index)  # the low half: both architectures are little-endian


def _block(number: int, body: list[Instruction]) -> list[Instruction]:
    """`body`, which must return on every way, for this call only."""
    return [Instruction(_EQUAL, number, 0, len(body)), *body]


def _allow_only(number: int, domain: int, types: tuple[int, ...]) -> list[Instruction]:
    """A rule for socket and socketpair: one domain, some types; anything else is EPERM."""
    checks = [Instruction(_EQUAL, kind, len(types) - place, 0) for place, kind in enumerate(types)]
    body = [
        _load_argument(0),
        Instruction(_EQUAL, domain, 0, 2 + len(types)),
        _load_argument(1),
        Instruction(_AND, _SOCK_TYPE_MASK),
        *checks,
        _answer(errno.EPERM),
        Instruction(_RETURN, ALLOW),
    ]
    return _block(number, body)


def _clone(number: int, allow_fork: bool) -> list[Instruction]:
    """No new namespaces; without `allow_fork` nothing but threads."""
    tail = [Instruction(_ANY_BIT, _CLONE_THREAD, 1, 0), _answer(errno.EPERM)] if not allow_fork else []
    body = [
        _load_argument(0),
        Instruction(_ANY_BIT, _NAMESPACE_FLAGS, 0, 1),
        _answer(errno.EPERM),
        *tail,
        Instruction(_RETURN, ALLOW),
    ]
    return _block(number, body)


@functools.cache
def assemble(profile: Profile, machine: str) -> tuple[Instruction, ...]:
    """The program for one kind of child on an architecture ("x86_64" or "aarch64")."""
    calls = numbers(machine)
    program = [
        Instruction(_LOAD, _ARCH_AT),
        Instruction(_EQUAL, AUDIT_ARCH[machine], 1, 0),
        Instruction(_RETURN, KILL_PROCESS),
        Instruction(_LOAD, _NUMBER_AT),
        Instruction(_GREATER, NEWEST_JUDGED, 0, 1),  # the x32 numbers of x86 are among these
        _answer(errno.ENOSYS),
    ]

    def answer_all(names: Iterable[str], code: int) -> None:
        for name in names:
            if name in calls:
                program.extend(_block(calls[name], [_answer(code)]))

    answer_all(FORBIDDEN, errno.EPERM)
    answer_all(["clone3"], errno.ENOSYS)  # its flags lie in memory, out of our sight; libc falls back to clone
    if not profile.allow_fork:
        answer_all(["fork", "vfork"], errno.EPERM)
    if profile.ignore_file_modes:
        answer_all(_FILE_MODES, 0)
    program += _clone(calls["clone"], profile.allow_fork)
    if profile.tcp:
        program += _allow_only(calls["socket"], _AF_INET, (_SOCK_STREAM,))
    else:
        answer_all(["socket"], errno.EPERM)
    # A datagram pair could be connected anew, to any socket whose path is in sight.
    program += _allow_only(calls["socketpair"], _AF_UNIX, (_SOCK_STREAM, _SOCK_SEQPACKET))
    for name, place in _NAMING_A_PROCESS.items():
        itself = [
            _load_argument(place),
            Instruction(_EQUAL, 0, 1, 0),
            _answer(errno.EPERM),
            Instruction(_RETURN, ALLOW),
        ]
        program += _block(calls[name], itself)
    outlive = [
        _load_argument(0),
        Instruction(_EQUAL, syscalls.PR_SET_PDEATHSIG, 0, 1),
        _answer(errno.EPERM),
        Instruction(_RETURN, ALLOW),
    ]
    program += _block(calls["prctl"], outlive)
    program.append(Instruction(_RETURN, ALLOW))
    return tuple(program)


@functools.cache
def pack(program: tuple[Instruction, ...]) -> bytes:
    """The bytes that the kernel takes."""
    return b"".join(struct.pack("=HBBI", step.code, step.on_true, step.on_false, step.value) for step in program)


def prepare(machine: str) -> None:
    """Assembles every program beforehand, so that a forked child finds it ready."""
    for bits in range(8):
        pack(assemble(Profile(bool(bits & 1), bool(bits & 2), bool(bits & 4)), machine))


def install(profile: Profile, machine: str) -> None:
    """Filters every thread of this process, for good. OSError when the kernel does not take the program."""
    program = assemble(profile, machine)
    packed = ctypes.create_string_buffer(pack(program), len(program) * 8)
    # struct sock_fprog { unsigned short len; struct sock_filter *filter; }
    holder = ctypes.create_string_buffer(struct.pack("@HxxxxxxQ", len(program), ctypes.addressof(packed)), 16)
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    refused = syscalls.call("seccomp", _SET_MODE_FILTER, _FLAG_TSYNC, holder)
    if refused:
        raise OSError(errno.EBUSY, f"thread {refused} could not be given the filter")
