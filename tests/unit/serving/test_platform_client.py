"""What the client makes of the platform's answers."""

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.support.serving import SECRET, FakePlatform

from carrara.contracts.routes import RouteTable
from carrara.serving import platform_client
from carrara.serving.platform_client import PlatformAway, PlatformClient, Unchanged

pytestmark = pytest.mark.anyio


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    made = FakePlatform()
    made.come()
    yield made
    made.go_away()


@pytest.fixture
async def client(platform: FakePlatform) -> AsyncIterator[PlatformClient]:
    made = PlatformClient(platform.url, SECRET)
    yield made
    await made.close()


async def test_the_bytes_that_it_gave_last_are_read_once(platform: FakePlatform, client: PlatformClient) -> None:
    platform.publish(3, [], [])
    first, again = await client.routes(None), await client.routes(None)
    platform.publish(4, [], [])
    newer = await client.routes(None)
    platform.publish(3, [], [])
    back = await client.routes(None)

    table = RouteTable(generation=3, endpoints=[], releases={})
    assert (first, again) == (table, Unchanged())
    assert isinstance(newer, RouteTable)
    assert (newer.generation, back) == (4, table)


async def test_bytes_that_could_not_be_read_are_no_table_that_it_gave(
    platform: FakePlatform, client: PlatformClient
) -> None:
    platform.publish_raw({"schema_version": 99, "generation": 3})

    for _ in range(2):
        with pytest.raises(PlatformAway, match="schema 99"):
            await client.routes(None)


async def test_a_large_table_is_not_read_on_the_event_loop(
    platform: FakePlatform, client: PlatformClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = []
    read = platform_client._table

    def watched(content: bytes) -> Any:
        readers.append(threading.current_thread())
        return read(content)

    monkeypatch.setattr(platform_client, "_table", watched)
    platform.publish(3, [], [])

    await client.routes(None)

    assert readers
    assert threading.main_thread() not in readers
