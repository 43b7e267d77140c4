"""What a worker does when the database will not take the end of an attempt, or the machine gives no thread."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest
from sqlalchemy.exc import OperationalError

from carrara.jobs import runner as runner_module
from carrara.jobs.attempts import Ending
from carrara.jobs.dispatcher import Dispatcher, WorkerSettings
from carrara.jobs.runner import Runner
from carrara.kernel.clock import SystemClock
from carrara.kernel.errors import Unavailable
from carrara.kernel.ids import uuid7


class Refusing:
    """A database that refuses `times` commits with this SQLSTATE."""

    def __init__(self, sqlstate: str | None, times: int) -> None:
        self.sqlstate = sqlstate
        self.times = times
        self.tries = 0

    @contextlib.contextmanager
    def transaction(self, scope: Any) -> Iterator[Any]:
        self.tries += 1
        yield None
        if self.tries <= self.times:
            original = cast("Any", Exception("no"))
            original.sqlstate = self.sqlstate
            raise Unavailable("no") from OperationalError("COMMIT", {}, original)


class Kept:
    """A keeper whose lease holds."""

    interruption = None
    scope = None


def commit(database: Refusing, monkeypatch: pytest.MonkeyPatch) -> Ending:
    monkeypatch.setattr(runner_module, "_COMMIT_AGAIN_SECONDS", 0.0)
    nothing = cast("Any", None)
    made = Runner(cast("Any", database), {}, nothing, nothing, rules=nothing, clock=SystemClock())
    return made._commit(cast("Any", Kept()), lambda _: Ending.SUCCEEDED)


@pytest.mark.parametrize("sqlstate", ["57014", "55P03", "40P01"])
def test_a_refusal_of_the_statements_own_is_not_repeated_for_ever(
    sqlstate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Refusing(sqlstate, 10**9)
    with pytest.raises(Unavailable):
        commit(database, monkeypatch)
    assert 2 < database.tries < 10


@pytest.mark.parametrize(("sqlstate", "times"), [("40P01", 2), (None, 50), ("57P01", 50)])
def test_a_deadlock_and_a_database_that_is_away_are_waited_for(
    sqlstate: str | None, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert commit(Refusing(sqlstate, times), monkeypatch) is Ending.SUCCEEDED


def test_a_thread_that_cannot_start_does_not_end_the_dispatcher(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = WorkerSettings(name="w", slots=1, lease_seconds=1, heartbeat_seconds=1, poll_seconds=1)
    nothing = cast("Any", None)
    dispatcher = Dispatcher(nothing, {}, nothing, settings=settings, clock=SystemClock())

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    class Job:
        id = uuid7()
        attempt = 1
        project_id = uuid7()
        submitted_by = uuid7()

    monkeypatch.setattr(threading.Thread, "start", refuse)
    dispatcher._begin(cast("Any", Job()))
    assert dispatcher.running_count == 0
