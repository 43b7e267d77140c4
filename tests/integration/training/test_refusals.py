"""Bad input, from the submission to the confined child: a clear error, and nothing registered."""

from typing import Any

import pytest
from tests.support.training import SPEC, TrainingWorld

from carrara.contracts.jobs import ErrorClass, JobKind, JobState
from carrara.evaluation.ports import Standing
from carrara.kernel.errors import CarraraError, Conflict, Invalid, NotFound

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"dataset": "trains"}, NotFound, "dataset"),
        ({"snapshot": 9}, NotFound, "the newest is number 1"),
        ({"snapshot": DIGEST}, NotFound, "snapshot"),
        ({"trainer": {"entry": "train:train", "bundle": DIGEST}}, NotFound, "code bundle"),
        ({"target": "arr_dely"}, Invalid, "did you mean 'arr_delay'"),
        ({"split": {**SPEC["split"], "column": "time_our"}}, Invalid, "no column 'time_our'"),
        (
            {"split": {**SPEC["split"], "holdout_from": "2014-01-01T00:00:00Z", "holdout_until": None}},
            Invalid,
            "holdout",
        ),
        ({"policy": {"rules": [{"rule": "metrc"}]}}, Invalid, "spec.policy"),
        ({"params": {"C": "much"}}, Invalid, "spec.params.C"),
        ({"memory_bytes": (2 << 30) + 1}, Invalid, "at most 2147483648"),
        ({"timeout_seconds": 3601}, Invalid, "at most 3600"),
    ],
)
def test_a_spec_that_cannot_run_is_refused_at_submission(
    world: TrainingWorld, changes: dict[str, Any], kind: type[CarraraError], says: str
) -> None:
    with pytest.raises(kind, match=says):
        world.submit({**SPEC, **changes})
    assert world.sql("SELECT 1 FROM jobs") == []


@pytest.mark.parametrize(
    ("body", "limits", "reason"),
    [
        ("raise ValueError('bad luck')", {}, "raised"),
        ("import sys; sys.exit(3)", {}, "exited"),
        ("while True: pass", {"timeout_seconds": 2}, "timed_out"),
        ("kept = [bytearray(64 << 20) for _ in range(1000)]", {"memory_bytes": 400 << 20}, "out_of_memory"),
        ("return None", {}, "wrong_return_type"),
    ],
)
def test_a_trainer_that_fails_ends_its_job_and_nothing_is_registered(
    world: TrainingWorld, body: str, limits: dict[str, Any], reason: str
) -> None:
    bundle = world.push_code(train=f"def train(context):\n    {body}\n")
    job = world.train(trainer={"entry": "train:train", "bundle": bundle}, **limits)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert (job.error.error_class, job.error.reason) == (ErrorClass.USER, reason), job.error
    assert world.sql("SELECT 1 FROM outbox WHERE kind = 'registry.register_trained'") == []


def test_an_evaluation_needs_a_validated_version_a_known_endpoint_and_known_columns(world: TrainingWorld) -> None:
    spec = {"model": "delays", "version": 1}
    with pytest.raises(NotFound, match="model version"):
        world.submit(spec, JobKind.EVALUATE)
    world.train(evaluate=False)
    world.register()
    with pytest.raises(Conflict, match="only a validated version"):
        world.submit(spec, JobKind.EVALUATE)
    assert world.run_next(JobKind.VALIDATE).error is None
    with pytest.raises(NotFound, match="endpoint"):
        world.submit({**spec, "endpoint": "nowhere"}, JobKind.EVALUATE)
    with pytest.raises(Invalid, match="did you mean 'carrier'"):
        world.submit({**spec, "slices": ["carier"]}, JobKind.EVALUATE)
    world.endpoints.by_name["delays"] = Standing(live=world.release_of("delays", 1), policy_id=None)
    job = world.submit({**spec, "endpoint": "delays"}, JobKind.EVALUATE)
    assert job.spec["baseline_release_id"] is None  # it is the live version itself
