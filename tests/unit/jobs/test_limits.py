"""What a job may ask for."""

import pytest

from carrara.jobs.ports import ChildWork
from carrara.jobs.runner import ChildRules
from carrara.kernel.errors import Invalid

RULES = ChildRules(
    level=None,
    timeout_seconds=60,
    memory_bytes=1 << 30,
    processes=8,
    platform_address=None,
    disk_bytes=1 << 20,
    max_timeout_seconds=600,
)


def test_work_that_asks_for_less_gets_less_and_else_the_operators() -> None:
    limits = RULES.limits(ChildWork("m:f", {}, timeout_seconds=600, memory_bytes=1 << 28))
    assert (limits.wall_seconds, limits.memory_bytes, limits.file_bytes) == (600, 1 << 28, 1 << 20)
    limits = RULES.limits(ChildWork("m:f", {}))
    assert (limits.wall_seconds, limits.memory_bytes) == (60, 1 << 30)


@pytest.mark.parametrize(
    ("work", "code", "limit"),
    [
        (ChildWork("m:f", {}, memory_bytes=(1 << 30) + 1), "memory_limit", 1 << 30),
        (ChildWork("m:f", {}, timeout_seconds=601), "timeout_limit", 600),
    ],
)
def test_work_that_asks_for_more_is_refused_with_the_limit(work: ChildWork, code: str, limit: int) -> None:
    with pytest.raises(Invalid, match=str(limit)) as caught:
        RULES.limits(work)
    assert caught.value.code == code
