"""What is decided about jobs without a database."""

import pytest

from carrara.contracts.jobs import JobState
from carrara.jobs.domain import JOB_STATES, Budget, Finding, judge_ready, pause_seconds
from carrara.jobs.service import parse_place
from carrara.kernel.errors import Conflict, Invalid

Q, R, S, F, C = JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED
ALLOWED = {(Q, R), (Q, C), (R, Q), (R, S), (R, F), (R, C)}


@pytest.mark.parametrize("before", JobState)
@pytest.mark.parametrize("after", JobState)
def test_only_the_ways_of_the_design_are_open(before: JobState, after: JobState) -> None:
    if (before, after) in ALLOWED:
        assert JOB_STATES.check(before, after) is after
    else:
        with pytest.raises(Conflict):
            JOB_STATES.check(before, after)


@pytest.mark.parametrize("state", [S, F, C])
def test_what_is_over_stays_as_it_is(state: JobState) -> None:
    assert JOB_STATES.is_terminal(state)


@pytest.mark.parametrize(
    ("state", "attempt", "max_attempts", "is_cancel_requested", "finding"),
    [
        (Q, 0, 2, False, Finding.START),
        (Q, 1, 2, False, Finding.START),
        (R, 1, 2, False, Finding.START),
        (R, 2, 2, False, Finding.GIVE_UP),
        (R, 1, 2, True, Finding.CANCEL),
        (R, 2, 2, True, Finding.CANCEL),
    ],
)
def test_a_ready_job_is_judged(
    state: JobState, attempt: int, max_attempts: int, is_cancel_requested: bool, finding: Finding
) -> None:
    assert judge_ready(Budget(state, attempt, max_attempts, is_cancel_requested)) is finding


def test_pauses_double_and_end_at_a_minute() -> None:
    assert [pause_seconds(attempt) for attempt in (1, 2, 3, 4, 10, 10_000)] == [1, 2, 4, 8, 60, 60]


def test_a_place_in_a_log_is_read_back() -> None:
    assert parse_place("2.17") == (2, 17)
    assert parse_place(None) < (1, 0)


@pytest.mark.parametrize("text", ["", "7", "1.", ".1", "1.2.3", "a.b", "1.2\x00", "9" * 30 + ".1"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="after"):
        parse_place(text)
