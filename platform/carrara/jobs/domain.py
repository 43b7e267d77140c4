"""The life of a job and of its attempts. What a worker does with a job that it finds is decided here, not in SQL."""

from dataclasses import dataclass
from enum import StrEnum

from carrara.contracts.jobs import JobState
from carrara.kernel.state_machine import StateMachine

SPEC_SCHEMA_VERSION = 1

JOB_STATES: StateMachine[JobState] = StateMachine(
    "job",
    {
        JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
        JobState.RUNNING: frozenset({JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
    },
)

_LONGEST_PAUSE_SECONDS = 60.0


class AttemptOutcome(StrEnum):
    """How an attempt ended. LOST: its lease ran out. RELEASED: its worker stopped and gave the job back."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    RELEASED = "released"


class Finding(StrEnum):
    """What to do with a job whose `ready_at` has come."""

    START = "start"
    GIVE_UP = "give_up"
    CANCEL = "cancel"


@dataclass(frozen=True)
class Budget:
    """How far a job has got with its attempts. `attempt` counts those that were started."""

    state: JobState
    attempt: int
    max_attempts: int
    is_cancel_requested: bool

    @property
    def is_used_up(self) -> bool:
        return self.attempt >= self.max_attempts


def judge_ready(budget: Budget) -> Finding:
    """A queued job starts; one that still runs at its `ready_at` has lost its worker, and starts again if it may."""
    if budget.is_cancel_requested:
        return Finding.CANCEL
    if budget.state is JobState.RUNNING and budget.is_used_up:
        return Finding.GIVE_UP
    return Finding.START


def pause_seconds(attempt: int) -> float:
    """How long a job waits after a system error in its attempt number `attempt`: 1, 2, 4 ... 60 seconds."""
    return min(2.0 ** min(max(attempt - 1, 0), 16), _LONGEST_PAUSE_SECONDS)
