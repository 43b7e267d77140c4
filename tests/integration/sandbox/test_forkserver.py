"""The forkserver's own life: it dies with its parent, comes back when it was killed, and leaks nothing."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.integration.sandbox.conftest import CHILDREN, MakeTask
from tests.support.waiting import eventually

from carrara.kernel.errors import Refused, Unavailable
from carrara.sandbox.client import Forkserver
from carrara.sandbox.domain import ExitKind, Layer, Level
from carrara.sandbox.memory_watch import descendants


def is_alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_children_end_with_a_killed_forkserver_and_the_next_spawn_works(
    forkserver: Forkserver, make_task: MakeTask
) -> None:
    with forkserver.spawn(make_task("multiply")) as child:
        for _ in range(8):
            child.receive(10)
        below = descendants(forkserver.pid)[1:]
        assert len(below) >= 8
        os.kill(forkserver.pid, signal.SIGKILL)

        end = child.wait(10)

        assert end is not None
        assert end.kind is ExitKind.LOST
        eventually(lambda: not any(map(is_alive, below)), within_seconds=10, what="the whole tree is gone")
    with forkserver.spawn(make_task("return_at_once")) as child:
        end = child.wait(10)
        assert end is not None
        assert end.kind is ExitKind.FINISHED


@pytest.mark.parametrize("level", ["achieved", Level.NONE])
def test_everything_ends_with_a_killed_parent(runtime_dir: Path, level: str) -> None:
    source = f"""
import sys
from pathlib import Path
from carrara.sandbox.client import Forkserver
from carrara.sandbox.domain import ChildTask, Level, Limits
forkserver = Forkserver.start([], runtime_dir=Path({str(runtime_dir)!r}))
level = forkserver.capabilities.achieved if {str(level)!r} == "achieved" else Level.NONE
limits = Limits(wall_seconds=60, memory_bytes=1 << 28, processes=32, file_bytes=1 << 20)
task = ChildTask("endings:multiply", {{}}, (), (), limits, level, import_paths=(Path({str(CHILDREN)!r}),))
child = forkserver.spawn(task)
for _ in range(8):
    child.receive(10)
print(forkserver.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        below = descendants(int(parent.stdout.readline()))
        assert len(below) >= 10
        parent.kill()

    eventually(lambda: not any(map(is_alive, below)), within_seconds=10, what="forkserver and children are gone")


def test_a_warden_that_is_told_twice_still_takes_the_whole_tree(forkserver: Forkserver, make_task: MakeTask) -> None:
    """The forkserver tells it, and so does the kernel when the forkserver dies: the second must not stop the sweep."""
    with forkserver.spawn(make_task("multiply", level=Level.NONE)) as child:
        for _ in range(8):
            child.receive(10)
        (warden,) = descendants(forkserver.pid)[1:2]
        below = descendants(warden)
        assert len(below) == 9

        with contextlib.suppress(ProcessLookupError):
            for _ in range(200):
                os.kill(warden, signal.SIGTERM)

        eventually(lambda: not any(map(is_alive, below)), within_seconds=10, what="the whole tree is gone")


def test_letting_go_of_a_child_ends_it(forkserver: Forkserver, make_task: MakeTask) -> None:
    child = forkserver.spawn(make_task("sleep"))
    child.receive(10)
    pid = child.pid

    child.close()

    eventually(lambda: not is_alive(pid), within_seconds=5, what="the child is gone")


def test_two_hundred_children_leave_nothing_behind(
    forkserver: Forkserver, make_task: MakeTask, capsys: pytest.CaptureFixture[str]
) -> None:
    task = make_task("sleep")

    def one() -> float:
        began = time.perf_counter()
        with forkserver.spawn(task) as child:
            took = time.perf_counter() - began
            child.kill("enough")
            child.wait(10)
        return took

    one()
    eventually(lambda: groups(forkserver) == 0, within_seconds=5, what="the first control group is gone")
    before = count_descriptors(os.getpid()), count_descriptors(forkserver.pid)
    took = sorted(one() for _ in range(200))

    # The forkserver tells us of an end before it tidies up after it.
    eventually(lambda: groups(forkserver) == 0, within_seconds=5, what="every control group is gone")
    assert descendants(forkserver.pid) == [forkserver.pid]
    assert (count_descriptors(os.getpid()), count_descriptors(forkserver.pid)) == before
    with capsys.disabled():
        print(f"\nspawn: median {took[100] * 1e3:.1f} ms, 98th of 100 {took[196] * 1e3:.1f} ms")


def count_descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def groups(forkserver: Forkserver) -> int:
    return sum(1 for _ in Path("/sys/fs/cgroup").glob(f"**/carrara-{forkserver.pid}-*"))


def test_an_idle_forkserver_uses_no_processor_time(forkserver: Forkserver, make_task: MakeTask) -> None:
    with forkserver.spawn(make_task("echo")) as child:
        before = processor_ticks(forkserver.pid)
        with pytest.raises(TimeoutError):
            child.receive(2)
        used = processor_ticks(forkserver.pid) - before

    assert used <= 10  # of 200; the memory watch looks ten times a second where there is no control group


def processor_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_threads_may_spawn_at_once_and_end_before_their_children(forkserver: Forkserver, make_task: MakeTask) -> None:
    with ThreadPoolExecutor(8) as pool:
        children = list(pool.map(lambda _: forkserver.spawn(make_task("echo")), range(16)))
    try:
        for number, child in enumerate(children):
            child.send(str(number).encode())
        assert [child.receive(10) for child in children] == [str(number).encode() for number in range(16)]
    finally:
        for child in children:
            child.close()


def test_a_forkserver_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    made: list[Forkserver] = []
    thread = threading.Thread(target=lambda: made.append(Forkserver.start([], runtime_dir=tmp_path)))
    thread.start()
    thread.join()

    with made[0] as forkserver:
        pid = forkserver.pid
        with pytest.raises(AssertionError):
            eventually(lambda: not is_alive(pid), within_seconds=0.3, what="it died with the thread")


def test_asyncio_can_wait_for_frames_and_for_the_end(forkserver: Forkserver, make_task: MakeTask) -> None:
    async def talk() -> tuple[bytes | None, ExitKind]:
        loop = asyncio.get_running_loop()
        answered, ended = asyncio.Event(), asyncio.Event()
        with forkserver.spawn(make_task("echo")) as child:
            loop.add_reader(child.fileno(), answered.set)
            loop.add_reader(child.exit_fileno(), ended.set)
            child.send(b"ping")
            await asyncio.wait_for(answered.wait(), 10)
            answer = child.receive(0)
            loop.remove_reader(child.fileno())
            child.kill("done")
            await asyncio.wait_for(ended.wait(), 10)
            end = child.wait(0)
            loop.remove_reader(child.exit_fileno())
            assert end is not None
            return answer, end.kind

    assert asyncio.run(talk()) == (b"ping", ExitKind.CANCELLED)


def test_a_module_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no_such_module"):
        Forkserver.start(["no_such_module"], runtime_dir=tmp_path)


def test_a_closed_forkserver_says_so(tmp_path: Path, make_task: MakeTask) -> None:
    forkserver = Forkserver.start([], runtime_dir=tmp_path)
    forkserver.close()

    with pytest.raises(Unavailable, match="closed"):
        forkserver.spawn(make_task("echo"))


def test_a_path_that_is_not_there_refuses_the_start(forkserver: Forkserver, make_task: MakeTask) -> None:
    with pytest.raises(Refused, match="/no/such/place, which does not exist"):
        forkserver.spawn(make_task("echo", read_paths=(Path("/no/such/place"),)))


def test_a_level_that_is_not_to_be_had_is_refused_with_what_is_missing(
    forkserver: Forkserver, make_task: MakeTask
) -> None:
    if forkserver.capabilities.achieved is Level.STRICT:
        pytest.skip("this user reaches the highest level; the tests as other users do not")

    with pytest.raises(Refused, match="level strict cannot be had here") as refused:
        forkserver.spawn(make_task("echo", level=Level.STRICT))

    missing = forkserver.capabilities.missing(Level.STRICT)
    assert refused.value.facts["missing"] == [[state.layer, state.detail] for state in missing]


def test_a_file_that_the_childs_uid_cannot_read_is_refused_by_name(
    forkserver: Forkserver, make_task: MakeTask, open_folder: Path
) -> None:
    if not forkserver.capabilities.has(Layer.OWN_UID):
        pytest.skip("children have our own uid here")
    closed = open_folder / "closed.parquet"
    closed.touch(mode=0o600)

    with pytest.raises(Refused, match=r"closed.parquet is not readable by others.*chmod"):
        forkserver.spawn(make_task("echo", read_paths=(closed,)))


def test_a_folder_below_a_closed_one_can_be_given(
    forkserver: Forkserver, make_task: MakeTask, open_folder: Path
) -> None:
    if not forkserver.capabilities.has(Layer.MOUNT_VIEW):
        pytest.skip("without a mount view every folder above must be open")
    staging = open_folder / "closed" / "staging"
    staging.mkdir(parents=True)
    staging.parent.chmod(0o700)
    (staging / "given.txt").write_text("given")
    task = make_task("write_staging", write_paths=(staging,), argument={"staging": str(staging)})

    with forkserver.spawn(task) as child:
        end = child.wait(10)

    assert end is not None
    assert end.kind is ExitKind.FINISHED, end


def test_the_root_cannot_be_given_to_a_child(forkserver: Forkserver, make_task: MakeTask) -> None:
    with pytest.raises(Refused, match="below the root"):
        forkserver.spawn(make_task("echo", read_paths=(Path("/"),)))


def test_an_argument_that_json_cannot_hold_is_a_type_error(forkserver: Forkserver, make_task: MakeTask) -> None:
    with pytest.raises(TypeError, match="cannot carry a object"):
        forkserver.spawn(make_task("echo", argument={"thing": object()}))


def test_leftovers_of_a_dead_process_are_swept(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    leftover = tmp_path / f"scratch-{ended.pid}-abc"
    leftover.mkdir()
    (leftover / "file").write_text("x")

    with Forkserver.start([], runtime_dir=tmp_path):
        assert not leftover.exists()
