"""Waiting for a new route table."""

import pytest
from tests.support.deployments import Town

from carrara.deployments.route_feed import RouteFeed


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_who_waits_hears_of_a_table_after_a_look_that_went_wrong(
    town: Town, database_url: str, monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> None:
    town.endpoint()
    feed = RouteFeed(town.database, database_url)
    look, looks = feed.generation, []

    def stumble_once() -> int:
        looks.append(1)
        if len(looks) == 1:
            raise KeyError("nobody foresaw this")
        return look()

    monkeypatch.setattr(feed, "generation", stumble_once)
    try:
        assert await feed.changed(look() - 1, 10.0)
    finally:
        feed.stop()
    assert len(looks) > 1
