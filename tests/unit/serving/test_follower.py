"""How a process keeps in step with a platform that comes, goes and goes back."""

import asyncio
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from carrara.contracts.routes import InstanceReport, RouteTable
from carrara.inference.data_plane import DataPlane
from carrara.inference.prediction_ids import PredictionIds
from carrara.inference.slots import Slots
from carrara.kernel.clock import SystemClock
from carrara.serving.follower import Follower, Identity
from carrara.serving.platform_client import PlatformAway, Unchanged
from carrara.serving.route_file import RouteFile

pytestmark = pytest.mark.anyio
Answer = RouteTable | Unchanged | PlatformAway


@dataclass
class ScriptedPlatform:
    """Answers polls in order, then waits for ever; `asked` are the generations that the process said it had."""

    answers: deque[Answer]
    generation: int = 0
    asked: list[int | None] = field(default_factory=list)
    reports: list[InstanceReport] = field(default_factory=list)

    async def routes(self, after: int | None) -> RouteTable | Unchanged:
        self.asked.append(after)
        if not self.answers:
            await asyncio.Event().wait()
        answer = self.answers.popleft()
        if isinstance(answer, PlatformAway):
            raise answer
        return answer

    async def report(self, report: InstanceReport) -> int:
        self.reports.append(report)
        return self.generation


def table(generation: int) -> RouteTable:
    return RouteTable(generation=generation, endpoints=[], releases={})


def follower_of(platform: ScriptedPlatform, path: Path) -> Follower:
    plane = DataPlane(PredictionIds(UUID(int=1)), max_in_flight=1, max_rows=1)
    slots = Slots(None, plane)  # type: ignore[arg-type]  # no table here names a release
    return Follower(
        identity=Identity("here", 0, UUID(int=1)),
        client=platform,  # type: ignore[arg-type]  # the same three methods
        file=RouteFile(path / "routes.json"),
        slots=slots,
        clock=SystemClock(),
        taken=lambda _: None,
    )


async def run_until_asked(follower: Follower, platform: ScriptedPlatform, times: int) -> None:
    following = asyncio.create_task(follower.follow())
    async with asyncio.timeout(10):
        while len(platform.asked) < times:
            await asyncio.sleep(0.01)
    following.cancel()


async def test_a_new_table_is_applied_saved_and_confirmed(tmp_path: Path) -> None:
    platform = ScriptedPlatform(deque([table(3)]))
    follower = follower_of(platform, tmp_path)

    await run_until_asked(follower, platform, 2)

    assert platform.asked == [None, 3]
    assert follower.stale_seconds < 5
    again = follower_of(ScriptedPlatform(deque()), tmp_path)
    again.start_from_disk()
    assert again.slots.table == table(3)


async def test_an_answer_that_cannot_be_used_keeps_the_table_and_says_why(tmp_path: Path) -> None:
    platform = ScriptedPlatform(deque([table(3), PlatformAway("schema 9", code="unknown_schema")]))
    follower = follower_of(platform, tmp_path)

    await run_until_asked(follower, platform, 3)

    assert follower.slots.table == table(3)
    assert follower.current_report().notes["trouble"] == "schema 9"


async def test_a_platform_that_went_back_to_an_older_table_is_followed(tmp_path: Path) -> None:
    """After a restore of yesterday's database the generation is lower than ours (F47)."""
    platform = ScriptedPlatform(deque([table(9)]), generation=5)
    follower = follower_of(platform, tmp_path)
    await run_until_asked(follower, platform, 2)
    reporting = asyncio.create_task(follower.report())
    async with asyncio.timeout(10):
        while not platform.reports:
            await asyncio.sleep(0.01)
    reporting.cancel()

    platform.answers.append(table(5))
    await run_until_asked(follower, platform, 4)

    assert platform.asked == [None, 9, None, 5]
    assert follower.slots.table == table(5)


async def test_a_slow_disk_holds_up_no_prediction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = follower_of(ScriptedPlatform(deque([table(3)])), tmp_path)
    writers = []
    monkeypatch.setattr(follower.file, "write", lambda *_: writers.append(threading.current_thread()))

    await run_until_asked(follower, follower.client, 2)  # type: ignore[arg-type]  # it is the scripted one

    assert writers
    assert threading.main_thread() not in writers


class JumpyClock(SystemClock):
    """Its wall clock may be anywhere."""

    offset = timedelta()

    def now(self) -> datetime:
        return super().now() + self.offset


@pytest.mark.parametrize("jump", [timedelta(days=365), timedelta(days=-365)])
async def test_a_wall_clock_that_jumps_does_not_age_the_table(tmp_path: Path, jump: timedelta) -> None:
    platform = ScriptedPlatform(deque([table(3)]))
    follower = follower_of(platform, tmp_path)
    follower.clock = clock = JumpyClock()
    await run_until_asked(follower, platform, 2)

    clock.offset = jump

    assert 0 <= follower.stale_seconds < 5


async def test_a_table_that_nobody_confirmed_is_of_no_age(tmp_path: Path) -> None:
    assert follower_of(ScriptedPlatform(deque()), tmp_path).stale_seconds == float("inf")


async def test_reports_are_numbered(tmp_path: Path) -> None:
    platform = ScriptedPlatform(deque())
    reporting = asyncio.create_task(follower_of(platform, tmp_path).report())
    async with asyncio.timeout(10):
        while len(platform.reports) < 2:
            await asyncio.sleep(0.01)
    reporting.cancel()

    assert [report.sequence for report in platform.reports[:2]] == [1, 2]


async def test_the_answer_to_a_report_confirms_the_table(tmp_path: Path) -> None:
    RouteFile(tmp_path / "routes.json").write(table(4), SystemClock().now().replace(year=2020))
    platform = ScriptedPlatform(deque(), generation=4)
    follower = follower_of(platform, tmp_path)
    follower.start_from_disk()
    assert follower.stale_seconds > 3600

    reporting = asyncio.create_task(follower.report())
    async with asyncio.timeout(10):
        while follower.stale_seconds > 5:
            await asyncio.sleep(0.01)
    reporting.cancel()
