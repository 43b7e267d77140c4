"""Loading, swapping and draining, with a fake loader of fake runtimes."""

import asyncio

import pytest
from tests.fakes.house import ADDRESS, CONSTANT, ONE, THREE, TWO, House, make_house, serving, until
from tests.support.serving import route

from carrara.contracts.routes import Fallback, SlotState
from carrara.inference.data_plane import JsonRequest
from carrara.inference.failures import BadModelOutput, ModelUnavailable
from carrara.kernel.errors import NotFound

pytestmark = pytest.mark.anyio


@pytest.fixture
def house() -> House:
    return make_house()


async def test_an_answer_names_its_release_and_itself(house: House) -> None:
    house.apply(route(ONE))
    await serving(house, ONE)

    answers = [(await house.ask()).to_json() for _ in range(2)]

    assert answers[0]["predictions"] == [{"prediction": 101.0}]
    assert (answers[0]["release"], answers[0]["model"], answers[0]["version"]) == (ONE.digest, "late", 1)
    assert answers[0]["fallback"] is False
    assert answers[0]["prediction_id"] < answers[1]["prediction_id"]


async def test_until_the_first_release_is_ready_there_is_no_answer(house: House) -> None:
    house.loader.gate = asyncio.Event()
    house.apply(route(ONE))

    with pytest.raises(ModelUnavailable) as caught:
        await house.ask()

    assert caught.value.code == "not_ready"


async def test_an_unknown_endpoint_is_not_found(house: House) -> None:
    with pytest.raises(NotFound):
        await house.ask()


async def test_the_declared_constant_answers_and_is_marked(house: House) -> None:
    house.apply(route(None, fallback=CONSTANT))

    answer = (await house.ask()).to_json()

    assert answer["fallback"] is True
    assert answer["release"] is None
    assert answer["predictions"] == [{"prediction": -1}]


async def test_a_declared_503_is_one(house: House) -> None:
    house.apply(route(None, fallback=Fallback(kind="unavailable")))

    with pytest.raises(ModelUnavailable) as caught:
        await house.ask()

    assert caught.value.code == "no_live_release"


async def test_the_old_release_answers_until_the_new_one_is_ready(house: House) -> None:
    house.apply(route(ONE))
    await serving(house, ONE)
    house.loader.gate = asyncio.Event()

    house.apply(route(TWO, warm=[ONE], target=ONE))

    assert (await house.ask()).to_json()["version"] == 1
    house.loader.gate.set()
    await serving(house, TWO)
    assert (await house.ask()).to_json()["version"] == 2


async def test_a_release_that_does_not_load_leaves_the_old_one_in_place(house: House) -> None:
    house.apply(route(ONE))
    await serving(house, ONE)
    house.loader.failing.add(TWO.digest)

    house.apply(route(TWO, warm=[ONE], target=ONE))
    await until(lambda: house.state_of(TWO) is SlotState.FAILED)

    assert (await house.ask()).to_json()["version"] == 1
    (failed,) = [report for report in house.slots.release_reports() if report.digest == TWO.digest]
    assert (failed.error_code, failed.error) == ("load_failed", "no such luck")


async def test_a_request_keeps_the_release_it_started_with(house: House) -> None:
    house.apply(route(ONE))
    await serving(house, ONE)
    old = house.loader.runtimes[ONE.digest]
    old.held = asyncio.Event()
    slow = asyncio.ensure_future(house.ask())
    await until(lambda: bool(house.plane.stats[ADDRESS].in_flight))

    house.apply(route(TWO))
    await serving(house, TWO)

    assert (await house.ask()).to_json()["version"] == 2
    assert house.state_of(ONE) is SlotState.DRAINING
    assert not old.is_closed
    old.held.set()
    assert (await slow).to_json()["version"] == 1
    await until(lambda: old.is_closed)
    assert house.state_of(ONE) is None


async def test_going_back_takes_the_warm_release_without_loading_it_again(house: House) -> None:
    house.apply(route(ONE))
    await serving(house, ONE)
    house.apply(route(TWO, warm=[ONE], target=ONE))
    await serving(house, ONE, TWO)
    loaded = house.loader.runtimes[ONE.digest]

    house.apply(route(ONE, warm=[TWO]))

    assert (await house.ask()).to_json()["version"] == 1
    assert house.loader.runtimes[ONE.digest] is loaded


async def test_too_many_requests_at_once_are_sent_away(house: House) -> None:
    house.apply(route(ONE))
    await serving(house, ONE)
    house.loader.runtimes[ONE.digest].held = held = asyncio.Event()
    waiting = [asyncio.ensure_future(house.ask()) for _ in range(4)]
    await until(lambda: house.plane.stats[ADDRESS].in_flight == 4)

    with pytest.raises(ModelUnavailable) as caught:
        await house.ask()

    assert caught.value.code == "overloaded"
    held.set()
    assert len(await asyncio.gather(*waiting)) == 4
    assert (await house.ask()).rows == 1


async def test_faults_are_counted_as_the_models(house: House) -> None:
    house.apply(route(ONE))
    await serving(house, ONE)

    with pytest.raises(BadModelOutput):
        await house.ask(act="nan")
    await house.ask()

    (report,) = house.slots.endpoint_reports()
    assert (report.requests, report.errors, report.model_faults) == (2, 1, 1)


async def test_a_release_that_breaks_gives_way_to_the_rollback_target(house: House) -> None:
    house.apply(route(TWO, warm=[ONE], target=ONE))
    await serving(house, ONE, TWO)
    house.loader.runtimes[TWO.digest].trouble = "it died 3 times"

    with pytest.raises(BadModelOutput):
        await house.ask(act="nan")

    assert (await house.ask()).to_json()["version"] == 1
    (report,) = house.slots.endpoint_reports()
    assert (report.live, report.on_fallback) == ([ONE.digest], True)
    assert house.slots.notes() == {"gave_up": {TWO.digest: "it died 3 times"}}


async def test_a_broken_release_is_tried_again_only_when_the_table_changes_for_it(house: House) -> None:
    house.apply(route(TWO, warm=[ONE], target=ONE))
    await serving(house, ONE, TWO)
    house.loader.runtimes[TWO.digest].trouble = "it died 3 times"
    with pytest.raises(BadModelOutput):
        await house.ask(act="nan")
    house.loader.runtimes[TWO.digest].trouble = None

    house.apply(route(TWO, warm=[ONE, THREE], target=ONE))
    assert (await house.ask()).to_json()["version"] == 1

    house.apply(route(ONE))
    house.apply(route(TWO, warm=[ONE], target=ONE))
    await serving(house, TWO)
    assert (await house.ask()).to_json()["version"] == 2


@pytest.mark.parametrize(("fallback", "live"), [(Fallback(kind="unavailable"), []), (None, [TWO.digest])])
async def test_a_release_that_breaks_without_a_way_back_is_never_reported_as_well(
    house: House, fallback: Fallback | None, live: list[str]
) -> None:
    house.apply(route(TWO, fallback=fallback))
    await serving(house, TWO)
    house.loader.runtimes[TWO.digest].trouble = "it died 3 times"

    with pytest.raises(BadModelOutput):
        await house.ask(act="nan")

    (report,) = house.slots.endpoint_reports()
    assert (report.live, report.on_fallback, report.gave_up) == (live, True, [TWO.digest])


async def test_no_rows_need_no_model(house: House) -> None:
    house.apply(route(ONE))
    await serving(house, ONE)

    answer = await house.plane.predict(ADDRESS, JsonRequest(b'{"instances": []}'))

    assert answer.to_json()["predictions"] == []
