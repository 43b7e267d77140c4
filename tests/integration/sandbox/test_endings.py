"""Why a child ended is told apart, at the highest level of the machine and at none."""

import resource
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.integration.sandbox.conftest import CHILDREN, MIB, MakeTask, limits
from tests.support.waiting import eventually

from carrara.sandbox.client import Child, Forkserver
from carrara.sandbox.domain import ChildExit, ExitKind, Layer, Level
from carrara.sandbox.frames import FrameError, decode_message


@pytest.fixture(params=["achieved", Level.NONE])
def level(request: pytest.FixtureRequest, forkserver: Forkserver) -> Level:
    return forkserver.capabilities.achieved if request.param == "achieved" else request.param


def end_of(forkserver: Forkserver, task: Any) -> ChildExit:
    with forkserver.spawn(task) as child:
        end = child.wait(60)
    assert end is not None
    return end


@pytest.mark.parametrize(
    ("function", "kind", "code", "number"),
    [
        ("return_at_once", ExitKind.FINISHED, 0, None),
        ("raise_error", ExitKind.RAISED, 1, None),
        ("exit_with_five", ExitKind.EXITED, 5, None),
        ("leave_quietly", ExitKind.EXITED, 7, None),
        ("crash", ExitKind.KILLED, None, signal.SIGSEGV),
        ("abort", ExitKind.KILLED, None, signal.SIGABRT),
        ("kill_itself", ExitKind.KILLED, None, signal.SIGKILL),
        ("ask_for_too_much", ExitKind.OUT_OF_MEMORY, None, None),
    ],
)
def test_each_way_to_end_is_told_apart(
    forkserver: Forkserver,
    make_task: MakeTask,
    level: Level,
    function: str,
    kind: ExitKind,
    code: int | None,
    number: int | None,
) -> None:
    end = end_of(forkserver, make_task(function, level=level))

    assert (end.kind, end.code, end.signal) == (kind, code, number)


def test_an_error_arrives_with_type_text_and_the_users_lines_only(forkserver: Forkserver, make_task: MakeTask) -> None:
    end = end_of(forkserver, make_task("raise_error"))

    assert end.error_type == "ValueError"
    assert end.message == "column 'größe' is not there"
    assert 'endings.py", line' in end.traceback
    assert "carrara/sandbox" not in end.traceback


def test_an_error_whose_text_fails_is_still_reported(forkserver: Forkserver, make_task: MakeTask) -> None:
    end = end_of(forkserver, make_task("raise_error_with_bad_text"))

    assert end.kind is ExitKind.RAISED
    assert end.error_type.endswith("BrokenError")
    assert "endings.py" in end.traceback


def test_a_huge_error_text_is_shortened(forkserver: Forkserver, make_task: MakeTask) -> None:
    end = end_of(forkserver, make_task("raise_long_error"))

    assert end.kind is ExitKind.RAISED
    assert len(end.message) < 10_000


def test_an_entry_that_is_not_there_is_an_error_of_the_caller(forkserver: Forkserver, make_task: MakeTask) -> None:
    end = end_of(forkserver, make_task("return_at_once", entry="endings:no_such_function"))

    assert end.kind is ExitKind.RAISED
    assert end.error_type == "AttributeError"


def test_exit_with_a_text_says_it(forkserver: Forkserver, make_task: MakeTask) -> None:
    end = end_of(forkserver, make_task("exit_with_message"))

    assert (end.kind, end.code, end.message) == (ExitKind.EXITED, 1, "no data today")


def test_a_loop_is_stopped_at_its_deadline(forkserver: Forkserver, make_task: MakeTask, level: Level) -> None:
    began = time.monotonic()

    end = end_of(forkserver, make_task("loop", level=level, limits=limits(wall_seconds=0.3)))

    assert end.kind is ExitKind.TIMED_OUT
    assert "0.3 s" in end.message
    assert time.monotonic() - began < 10


def test_processor_time_is_a_limit_too(forkserver: Forkserver, make_task: MakeTask) -> None:
    end = end_of(forkserver, make_task("burn_processor_time", limits=limits(cpu_seconds=1)))

    assert end.kind is ExitKind.TIMED_OUT
    assert "1 s of processor time" in end.message


@pytest.mark.parametrize("function", ["allocate_without_end", "allocate_in_a_grandchild"])
def test_fault_f08_out_of_memory_names_peak_and_limit(
    forkserver: Forkserver, make_task: MakeTask, level: Level, function: str
) -> None:
    end = end_of(forkserver, make_task(function, level=level, limits=limits(memory_bytes=64 * MIB, wall_seconds=30)))

    assert end.kind is ExitKind.OUT_OF_MEMORY
    assert 60 * MIB < end.peak_memory_bytes < 512 * MIB
    assert "allowed are 64 MiB" in end.message


def applied(forkserver: Forkserver) -> set[Layer]:
    return {state.layer for state in forkserver.capabilities.layers if state.available}


def test_fault_f08_neighbours_are_untouched(forkserver: Forkserver, make_task: MakeTask) -> None:
    with forkserver.spawn(make_task("echo")) as neighbour:
        end_of(forkserver, make_task("allocate_without_end", limits=limits(memory_bytes=64 * MIB)))

        neighbour.send(b"still here?")
        assert neighbour.receive(10) == b"still here?"


def test_kill_gives_the_reason_back(forkserver: Forkserver, make_task: MakeTask, level: Level) -> None:
    with forkserver.spawn(make_task("sleep", level=level)) as child:
        child.receive(10)
        child.kill("the user cancelled it")

        end = child.wait(10)

    assert end is not None
    assert (end.kind, end.message) == (ExitKind.CANCELLED, "the user cancelled it")


def test_wait_gives_nothing_while_it_runs(forkserver: Forkserver, make_task: MakeTask) -> None:
    with forkserver.spawn(make_task("sleep")) as child:
        assert child.wait(0.05) is None


def test_threads_that_sleep_do_not_hold_the_end_up(forkserver: Forkserver, make_task: MakeTask) -> None:
    assert end_of(forkserver, make_task("sleep_with_threads")).kind is ExitKind.FINISHED


def read_to_the_end(child: Child) -> bytes:
    written = b""

    def ended() -> bool:
        nonlocal written
        block = child.read_output()
        written += block or b""
        return block is None

    eventually(ended, within_seconds=10, what="every process that holds the output is gone", every_seconds=0.01)
    return written


def test_output_of_both_streams_arrives(forkserver: Forkserver, make_task: MakeTask) -> None:
    with forkserver.spawn(make_task("return_at_once")) as child:
        child.wait(10)

        assert sorted(read_to_the_end(child).split()) == [b"err", b"out"]


def test_a_grandchild_in_another_session_ends_with_the_child(
    forkserver: Forkserver, make_task: MakeTask, level: Level
) -> None:
    with forkserver.spawn(make_task("leave_a_grandchild", level=level)) as child:
        end = child.wait(10)
        read_to_the_end(child)

    assert end is not None
    assert end.kind is ExitKind.FINISHED


def test_kill_takes_the_whole_tree(forkserver: Forkserver, make_task: MakeTask, level: Level) -> None:
    with forkserver.spawn(make_task("multiply", level=level)) as child:
        for _ in range(8):
            child.receive(10)
        child.kill("enough")
        child.wait(10)

        read_to_the_end(child)


def test_a_child_that_may_not_fork_has_threads(forkserver: Forkserver, make_task: MakeTask) -> None:
    if Layer.SECCOMP not in applied(forkserver):
        pytest.skip("this machine has no seccomp")

    end = end_of(forkserver, make_task("fork_once", allow_fork=False))

    assert end.error_type == "PermissionError"
    assert "os.fork()" in end.traceback
    assert end_of(forkserver, make_task("fork_once")).kind is ExitKind.FINISHED


def test_a_reply_of_a_gigabyte_is_refused_unread(forkserver: Forkserver, make_task: MakeTask) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with forkserver.spawn(make_task("send_gigabyte"), max_frame_bytes=8 * MIB) as child:
        with pytest.raises(FrameError, match="1073741824 bytes was announced"):
            child.receive(10)
        end = child.wait(10)

    assert end is not None
    assert end.kind is ExitKind.CANCELLED
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def test_half_a_frame_is_an_error(forkserver: Forkserver, make_task: MakeTask) -> None:
    with (
        forkserver.spawn(make_task("send_half_a_frame")) as child,
        pytest.raises(FrameError, match="ended inside a frame"),
    ):
        child.receive(10)


def test_a_frame_that_is_no_message_is_an_error(forkserver: Forkserver, make_task: MakeTask) -> None:
    with forkserver.spawn(make_task("send_no_map")) as child:
        frame = child.receive(10)

    assert frame is not None
    with pytest.raises(FrameError, match="no msgpack map"):
        decode_message(frame)


def test_receive_gives_up_when_asked_to(forkserver: Forkserver, make_task: MakeTask) -> None:
    with forkserver.spawn(make_task("echo")) as child, pytest.raises(TimeoutError):
        child.receive(0.05)


def test_large_frames_go_there_and_back(forkserver: Forkserver, make_task: MakeTask) -> None:
    payload = bytes(range(256)) * 256
    with forkserver.spawn(make_task("echo")) as child:
        child.send(payload)
        assert child.receive(10) == payload


def test_staging_belongs_to_the_child_and_comes_back(
    forkserver: Forkserver, make_task: MakeTask, open_folder: Path
) -> None:
    staging = open_folder / "staging"
    staging.mkdir()
    (staging / "given.txt").write_text("given")

    end = end_of(forkserver, make_task("write_staging", write_paths=(staging,), argument={"staging": str(staging)}))

    assert end.kind is ExitKind.FINISHED
    assert (staging / "model" / "weights.bin").read_bytes() == b"\1\2\3"
    assert (staging / "given.txt").read_text() == "given and more"


def test_the_child_finds_what_it_was_given_and_nothing_else(
    forkserver: Forkserver, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARRARA_DATABASE_URL", "postgresql://secret")
    task = make_task("look_around", argument={"x": [1, None, "é"]}, environment={"MLFLOW_TRACKING_URI": "http://x"})

    with forkserver.spawn(task) as child:
        seen = decode_message(child.receive(10) or b"")

    assert seen["argument"] == {"x": [1, None, "é"]}
    assert seen["path"] == str(CHILDREN)
    assert seen["threads"] == 1
    assert seen["environment"]["MLFLOW_TRACKING_URI"] == "http://x"
    assert seen["environment"]["HOME"] == seen["environment"]["TMPDIR"] == seen["cwd"]
    assert not [name for name in seen["environment"] if name.startswith("CARRARA")]
    assert "secret" not in str(seen["environment"])


def test_the_private_folder_is_gone_afterwards(forkserver: Forkserver, make_task: MakeTask, runtime_dir: Path) -> None:
    end = end_of(forkserver, make_task("fill_scratch"))

    assert end.kind is ExitKind.FINISHED, end
    assert list(runtime_dir.glob("scratch-*")) == []
