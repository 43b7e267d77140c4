"""Rehearsals, retries and faults of ours, with a fake loader of fake runtimes."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from tests.fakes.house import ONE, TWO, House, make_house, serving, until
from tests.support.serving import route

from carrara.contracts.routes import SlotState
from carrara.inference.slot import SlotFailed
from carrara.inference.slots import retry_seconds
from carrara.kernel.clock import SystemClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def house() -> House:
    return make_house()


async def test_a_warm_release_answers_its_golden_set_again(house: House) -> None:
    house.apply(route(TWO, warm=[ONE], target=ONE))
    await serving(house, ONE, TWO)
    before = {report.digest: report.golden_at for report in house.slots.release_reports()}

    await house.slots.rehearse_warm()

    after = {report.digest: report.golden_at for report in house.slots.release_reports()}
    assert after[ONE.digest] != before[ONE.digest]
    assert after[TWO.digest] == before[TWO.digest]


@dataclass
class LateClock(SystemClock):
    """Stands still in the wrong century; `passed` seconds have gone by all the same."""

    passed: float = 0.0

    def now(self) -> datetime:
        return datetime(2000, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.passed


async def test_the_age_of_a_rehearsal_is_told_whatever_the_wall_clock_says(house: House) -> None:
    house.loader.clock = clock = LateClock()
    house.apply(route(ONE))
    await serving(house, ONE)

    clock.passed = 42.5

    assert [report.golden_age_seconds for report in house.slots.release_reports()] == [42.5]


async def test_a_warm_release_that_changed_its_answers_has_failed_and_is_loaded_again(house: House) -> None:
    house.apply(route(TWO, warm=[ONE], target=ONE))
    await serving(house, ONE, TWO)
    house.loader.runtimes[ONE.digest].offset = 7.0

    await house.slots.rehearse_warm()

    assert house.state_of(ONE) is SlotState.FAILED
    await serving(house, ONE)
    assert (await house.ask()).to_json()["version"] == 2


@pytest.mark.parametrize(
    ("code", "pauses"),
    [("load_failed", [5.0, 15.0, 60.0, 300.0, 300.0]), ("store_unavailable", [5.0, 15.0, 15.0, 15.0, 15.0])],
)
async def test_a_store_that_was_away_is_asked_again_soon(code: str, pauses: list[float]) -> None:
    assert [retry_seconds(failures, SlotFailed("no", code=code)) for failures in range(1, 6)] == pauses


async def test_a_fault_of_ours_is_told_and_does_not_look_like_loading(house: House) -> None:
    house.loader.fault = KeyError("nobody foresaw this")
    house.apply(route(ONE))
    await until(lambda: house.state_of(ONE) is SlotState.FAILED)

    (report,) = house.slots.release_reports()
    assert report.error_code == "internal"
    assert "KeyError: 'nobody foresaw this'" in (report.error or "")


async def test_a_fault_of_ours_in_a_rehearsal_fails_that_release_alone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.apply(route(TWO, warm=[ONE], target=ONE))
    await serving(house, ONE, TWO)

    async def lost(columns: object, rows: int) -> None:
        raise KeyError("nobody foresaw this")

    monkeypatch.setattr(house.loader.runtimes[ONE.digest], "predict", lost)
    await house.slots.rehearse_warm()

    assert house.state_of(ONE) is SlotState.FAILED
    assert house.state_of(TWO) is SlotState.READY
