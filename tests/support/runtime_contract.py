"""What every `inference.ports.Runtime` must do, run on the fake and on the real one (a model that acts by its rows)."""

import asyncio
from typing import Any

import pytest

from carrara.inference.failures import BadModelOutput, ModelCrashed, ModelRaised, ModelTooSlow, ModelUnavailable
from carrara.inference.ports import Runtime


def rows(*values: float, act: str | None = None, seconds: float | None = None) -> tuple[dict[str, list[Any]], int]:
    """Decoded columns of these rows."""
    count = len(values)
    return {"value": list(values), "act": [act] * count, "seconds": [seconds] * count}, count


@pytest.mark.anyio
class RuntimeContract:
    """`runtime` must answer `value` and give up after at most a second or two."""

    async def test_it_answers_each_row(self, runtime: Runtime) -> None:
        assert await runtime.predict(*rows(1.0, 2.0, 3.0)) == {"prediction": [1.0, 2.0, 3.0]}

    async def test_calls_at_once_each_get_their_own_answer(self, runtime: Runtime) -> None:
        answers = await asyncio.gather(*(runtime.predict(*rows(float(n), n + 0.5)) for n in range(50)))

        assert answers == [{"prediction": [float(n), n + 0.5]} for n in range(50)]

    @pytest.mark.parametrize(
        ("act", "kind"),
        [("nan", BadModelOutput), ("short", BadModelOutput), ("raise", ModelRaised), ("exit", ModelCrashed)],
    )
    async def test_a_fault_reaches_its_caller_and_no_other(
        self, runtime: Runtime, act: str, kind: type[Exception]
    ) -> None:
        bad, good = await asyncio.gather(
            runtime.predict(*rows(1.0, act=act)), runtime.predict(*rows(2.0)), return_exceptions=True
        )

        assert isinstance(bad, kind)
        assert good == {"prediction": [2.0]}

    async def test_a_stuck_model_is_given_up_and_the_next_call_is_answered(self, runtime: Runtime) -> None:
        with pytest.raises(ModelTooSlow):
            await runtime.predict(*rows(1.0, seconds=60.0))

        assert await runtime.predict(*rows(2.0)) == {"prediction": [2.0]}

    async def test_a_caller_who_leaves_takes_nobody_along(self, runtime: Runtime) -> None:
        leaving = asyncio.ensure_future(runtime.predict(*rows(1.0, seconds=0.2)))
        staying = asyncio.ensure_future(runtime.predict(*rows(2.0)))
        await asyncio.sleep(0)
        leaving.cancel()

        assert await staying == {"prediction": [2.0]}

    async def test_after_close_it_is_unavailable(self, runtime: Runtime) -> None:
        waiting = asyncio.ensure_future(runtime.predict(*rows(1.0, seconds=60.0)))
        await asyncio.sleep(0.01)
        await runtime.close()

        with pytest.raises(ModelUnavailable):
            await waiting
        with pytest.raises(ModelUnavailable):
            await runtime.predict(*rows(1.0))
