"""The filter, run by an interpreter of its own: every jump lands inside, and every call gets the answer it should."""

import errno
import platform
import re
from pathlib import Path

import pytest

from carrara.sandbox import seccomp
from carrara.sandbox.seccomp import ALLOW, KILL_PROCESS, Instruction, Profile, assemble, pack
from carrara.sandbox.syscall_numbers import AUDIT_ARCH, NEWEST_JUDGED, UnknownArchitectureError, numbers

MACHINES = tuple(AUDIT_ARCH)
PROFILES = [Profile(fork, tcp, modes) for fork in (True, False) for tcp in (True, False) for modes in (True, False)]
CLONE_THREAD = 0x1_0000
REFUSED = 0x0005_0000 | errno.EPERM
NO_SUCH_CALL = 0x0005_0000 | errno.ENOSYS


def answer(program: tuple[Instruction, ...], machine: str, number: int, *arguments: int) -> int:
    """Runs classic BPF as `Documentation/networking/filter.rst` defines it, over a `struct seccomp_data`."""
    data = number.to_bytes(4, "little") + AUDIT_ARCH[machine].to_bytes(4, "little") + bytes(8)
    for place in range(6):
        data += (arguments[place] if place < len(arguments) else 0).to_bytes(8, "little")
    return _run(program, data)


def _run(program: tuple[Instruction, ...], data: bytes) -> int:
    register, place = 0, 0
    while True:
        step = program[place]
        place += 1
        if step.code == 0x20:
            register = int.from_bytes(data[step.value : step.value + 4], "little")
        elif step.code == 0x54:
            register &= step.value
        elif step.code == 0x06:
            return step.value
        else:
            holds = {
                0x15: register == step.value,
                0x25: register > step.value,
                0x45: bool(register & step.value),
            }[step.code]
            place += step.on_true if holds else step.on_false


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("profile", PROFILES)
def test_every_jump_lands_inside_and_every_way_returns(profile: Profile, machine: str) -> None:
    program = assemble(profile, machine)

    assert len(program) <= 4096  # BPF_MAXINSNS
    for place, step in enumerate(program):
        if step.code & 0x07 == 0x05:
            for distance in (step.on_true, step.on_false):
                assert 0 <= distance <= 255
                assert place + 1 + distance < len(program)
    assert program[-1].code == 0x06
    assert len(pack(program)) == 8 * len(program)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("profile", PROFILES)
def test_everything_forbidden_is_refused(profile: Profile, machine: str) -> None:
    program = assemble(profile, machine)
    calls = numbers(machine)

    answers = {name: answer(program, machine, calls[name]) for name in seccomp.FORBIDDEN if name in calls}

    assert set(answers.values()) == {REFUSED}
    assert {"ptrace", "mount", "bpf", "keyctl", "io_uring_setup", "execve", "execveat", "unshare"} <= set(answers)


@pytest.mark.parametrize("machine", MACHINES)
def test_ordinary_calls_pass(machine: str) -> None:
    ordinary = {"x86_64": {"read": 0, "openat": 257, "mmap": 9, "futex": 202, "kill": 62, "connect": 42}}
    ordinary["aarch64"] = {"read": 63, "openat": 56, "mmap": 222, "futex": 98, "kill": 129, "connect": 203}
    program = assemble(Profile(allow_fork=False), machine)

    assert {answer(program, machine, number) for number in ordinary[machine].values()} == {ALLOW}


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_newer_than_the_list_do_not_exist(machine: str) -> None:
    program = assemble(Profile(), machine)

    assert answer(program, machine, NEWEST_JUDGED + 1) == NO_SUCH_CALL
    assert answer(program, machine, 0x4000_0000 + 59) == NO_SUCH_CALL  # execve by its x32 number
    assert answer(program, machine, numbers(machine)["clone3"]) == NO_SUCH_CALL


@pytest.mark.parametrize("machine", MACHINES)
def test_another_architecture_is_killed(machine: str) -> None:
    program = assemble(Profile(), machine)
    i386 = (11).to_bytes(4, "little") + (0x4000_0003).to_bytes(4, "little") + bytes(56)

    assert _run(program, i386) == KILL_PROCESS


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("profile", "flags", "expected"),
    [
        (Profile(), 17, ALLOW),
        (Profile(), 17 | 0x1000_0000, REFUSED),
        (Profile(), CLONE_THREAD | 0x4000_0000, REFUSED),
        (Profile(), CLONE_THREAD, ALLOW),
        (Profile(allow_fork=False), 17, REFUSED),
        (Profile(allow_fork=False), CLONE_THREAD, ALLOW),
        (Profile(allow_fork=False), CLONE_THREAD | 0x2_0000, REFUSED),
    ],
)
def test_clone_makes_no_namespaces_and_no_processes_where_forbidden(
    profile: Profile, flags: int, expected: int, machine: str
) -> None:
    assert answer(assemble(profile, machine), machine, numbers(machine)["clone"], flags) == expected


def test_fork_and_vfork_are_refused_where_they_exist() -> None:
    calls = numbers("x86_64")
    program = assemble(Profile(allow_fork=False), "x86_64")

    assert [answer(program, "x86_64", calls[name]) for name in ("fork", "vfork")] == [REFUSED, REFUSED]
    assert answer(assemble(Profile(), "x86_64"), "x86_64", calls["fork"]) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("family", range(46))
def test_sockets_are_tcp_and_only_where_there_is_a_network_of_ones_own(family: int, machine: str) -> None:
    number = numbers(machine)["socket"]
    without, with_tcp = assemble(Profile(), machine), assemble(Profile(tcp=True), machine)

    for kind in range(1, 11):
        for flags in (0, 0o4000, 0o2000000):
            assert answer(without, machine, number, family, kind | flags) == REFUSED
            expected = ALLOW if (family, kind) == (2, 1) else REFUSED
            assert answer(with_tcp, machine, number, family, kind | flags) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_socket_pairs_are_streams(machine: str) -> None:
    program = assemble(Profile(), machine)
    number = numbers(machine)["socketpair"]

    allowed = {
        (family, kind)
        for family in range(46)
        for kind in range(1, 11)
        if answer(program, machine, number, family, kind) == ALLOW
    }

    assert allowed == {(1, 1), (1, 5)}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "mine", "theirs"),
    [
        ("prlimit64", (0, 7), (4711, 7)),
        ("setpriority", (0, 0, 5), (0, 4711, 5)),
        ("sched_setattr", (0,), (4711,)),
        ("prctl", (38, 1), (1, 0)),
    ],
)
def test_only_the_process_itself_can_be_named(
    name: str, mine: tuple[int, ...], theirs: tuple[int, ...], machine: str
) -> None:
    program = assemble(Profile(), machine)

    assert answer(program, machine, numbers(machine)[name], *mine) == ALLOW
    assert answer(program, machine, numbers(machine)[name], *theirs) == REFUSED


@pytest.mark.parametrize("machine", MACHINES)
def test_file_modes_are_left_alone_without_an_error_where_nothing_else_guards_them(machine: str) -> None:
    number = numbers(machine)["fchmodat"]

    assert answer(assemble(Profile(ignore_file_modes=True), machine), machine, number) == 0x0005_0000
    assert answer(assemble(Profile(), machine), machine, number) == ALLOW


@pytest.mark.parametrize(
    ("machine", "header"),
    [
        ("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        ("aarch64", "/usr/include/asm-generic/unistd.h"),
    ],
)
def test_numbers_are_those_of_the_kernels_headers(machine: str, header: str) -> None:
    if not Path(header).exists():
        pytest.skip("the kernel's headers are not installed")
    lines = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text())
    known = {name: int(number) for name, number in lines}

    ours = {name: number for name, number in numbers(machine).items() if name in known}

    assert ours == {name: known[name] for name in ours}
    assert len(ours) > 80


def test_an_unknown_architecture_is_named() -> None:
    with pytest.raises(UnknownArchitectureError, match="riscv64"):
        numbers("riscv64")


def test_this_machine_is_known() -> None:
    assert numbers() == numbers(platform.machine())
