"""The fake keeps the promises of the real runtime."""

import pytest
from tests.fakes.runtime import FakeRuntime
from tests.support.runtime_contract import RuntimeContract


class TestFakeRuntime(RuntimeContract):
    @pytest.fixture
    def runtime(self) -> FakeRuntime:
        return FakeRuntime(deadline_seconds=0.5)
