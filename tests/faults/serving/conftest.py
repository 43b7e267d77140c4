"""Towns for tests that break serving."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.serving_fixtures import Town, open_town


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Shared by the tests that leave serving as they found it; each publishes its own releases."""
    settings = {"CARRARA_MODEL_LOAD_TIMEOUT_SECONDS": "3", "CARRARA_PREDICT_TIMEOUT_SECONDS": "3"}
    with open_town(tmp_path_factory.mktemp("town"), settings=settings) as opened:
        yield opened


@pytest.fixture
def own_town(tmp_path: Path) -> Iterator[Town]:
    """For tests that kill; with one process, since the forkserver of each costs seconds to start."""
    with open_town(tmp_path, workers=1) as opened:
        yield opened
