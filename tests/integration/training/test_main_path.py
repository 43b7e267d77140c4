"""From a spec to evidence: trained, registered, validated, evaluated, compared with what is live, judged."""

import io

import numpy as np
import pyarrow.parquet as pq
from sklearn.metrics import roc_auc_score
from tests.support.training import EXAMPLES, SPEC, TrainingWorld

from carrara.contracts.evaluation import EvaluationReport
from carrara.contracts.gates import Outcome
from carrara.contracts.jobs import JobKind, JobState
from carrara.evaluation import service
from carrara.evaluation.ports import Standing
from carrara.kernel.clock import SystemClock


def test_a_spec_becomes_an_evaluated_version(world: TrainingWorld) -> None:
    trained, evaluated = world.version_from()
    assert trained.state is JobState.SUCCEEDED
    assert trained.result is not None
    assert trained.result["train_rows"] > 5000
    assert evaluated.state is JobState.SUCCEEDED, evaluated.error
    [(state, report_json, predictions, looks)] = world.sql(
        "SELECT v.state, e.report, e.predictions, s.holdout_looks FROM versions v"
        " JOIN evaluations e ON e.version_id = v.id JOIN splits s ON s.id = e.split_id"
    )
    report = EvaluationReport.model_validate(report_json)
    assert (state, looks, report.data.look) == ("evaluated", 1, 1)
    table = pq.read_table(io.BytesIO(world.blobs.get_bytes(predictions["digest"])))
    auc = roc_auc_score(table["label"].to_numpy(zero_copy_only=False), table["probability_true"].to_numpy())
    measured = report.metrics["roc_auc"]
    assert measured.value is not None
    assert measured.lower is not None
    assert measured.upper is not None
    assert np.isclose(measured.value, auc)
    assert 0.85 < measured.lower < measured.value < measured.upper < 1
    assert report.data.rows == len(table)


def test_a_second_version_is_compared_with_the_live_one_on_the_same_rows(world: TrainingWorld) -> None:
    world.version_from()
    world.endpoints.by_name["delays"] = Standing(live=world.release_of("delays", 1), policy_id=None)
    bundle = world.push_code(train=(EXAMPLES / "train.py").read_text())
    trainer = {"entry": "train:train", "bundle": bundle}
    _, evaluated = world.version_from(trainer=trainer, params={"trees": 40, "stages": 2}, endpoint="delays")
    assert evaluated.error is None
    assert evaluated.result is not None
    assert "roc_auc" in evaluated.result["differences"]
    with world.database.transaction(world.scope) as session:
        report = service.explain(
            session,
            world.project.id,
            "delays",
            2,
            endpoint="delays",
            endpoints=world.endpoints,
            now=SystemClock().now(),
        )
    assert report.outcome is Outcome.PASSED, report
    assert report.live_release is not None


def test_metrics_of_the_users_own_trainer_reach_the_registry(world: TrainingWorld) -> None:
    bundle = world.push_code(train=(EXAMPLES / "train.py").read_text())
    trained = world.train(
        trainer={"entry": "train:train", "bundle": bundle}, params={"trees": 20, "stages": 2}, evaluate=False
    )
    assert trained.error is None
    world.register()
    [run] = world.tracking.projects[world.project.id].runs.values()
    points = {(point.name, point.step) for point in run.metrics}
    assert points == {("train_log_loss", 1), ("train_log_loss", 2), ("train_accuracy", 0)}
    assert run.params["trees"] == "20"


def test_a_retried_job_keeps_its_snapshot(world: TrainingWorld) -> None:
    bundle = world.push_code(train="def train(context):\n    raise ValueError('no')\n")
    first = world.submit({**SPEC, "trainer": {"entry": "train:train", "bundle": bundle}})
    failed = world.run_next(JobKind.TRAIN)
    assert failed.state is JobState.FAILED
    with world.database.transaction(world.scope) as session:
        again = world.jobs.retry(session, world.project.id, world.author, first.id)
    assert again.spec["snapshot"] == first.spec["snapshot"]
    assert again.spec["pinned"] == first.spec["pinned"]
