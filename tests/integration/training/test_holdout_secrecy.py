"""The holdout's labels are nowhere that the user's code can look."""

import io

import pyarrow.parquet as pq
from tests.support.training import TrainingWorld

from carrara.contracts.jobs import JobState

SPY = """
import os, pathlib, tempfile
import pyarrow.parquet as pq
import pyarrow.compute as pc
from sklearn.linear_model import LogisticRegression
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

def found(top):
    for folder, _, names in os.walk(top):
        for name in names:
            yield pathlib.Path(folder, name)

def train(context):
    inputs = pathlib.Path(__file__).resolve().parents[1]
    beside = [inputs.parent / name for name in ('', 'outputs', 'scratch', 'data', '..', '../..', '../../..')]
    tops = [inputs, *beside, pathlib.Path(tempfile.gettempdir()), pathlib.Path.cwd()]
    tables = labels = unlabelled = 0
    for path in {each for top in tops for each in found(top)}:
        try:
            table = pq.read_table(path)
        except Exception:
            continue
        tables += 1
        if 'arr_delay' not in table.column_names:
            unlabelled += len(table)
        else:
            days = pc.day(table['time_hour'])
            labels += pc.sum(pc.greater_equal(days, 23)).as_py() or 0
    context.log_metric('tables', tables)
    context.log_metric('holdout_labels', labels)
    context.log_metric('unlabelled', unlabelled)
    return make_pipeline(SimpleImputer(), LogisticRegression()).fit(context.features, context.target)
"""


def test_user_code_finds_the_training_rows_and_no_label_of_the_holdout(world: TrainingWorld) -> None:
    bundle = world.push_code(spy=SPY)
    job = world.train(trainer={"entry": "spy:train", "bundle": bundle}, features=["dep_delay", "distance"], exclude=[])
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result is not None
    metrics = job.result["metrics"]
    assert metrics["tables"] >= 1
    assert metrics["holdout_labels"] == 0
    assert metrics["unlabelled"] <= 200


def test_the_golden_candidates_are_held_out_rows_without_their_target(world: TrainingWorld) -> None:
    job = world.train()
    assert job.error is None, job.error
    [(payload,)] = world.sql("SELECT payload FROM outbox WHERE kind = 'registry.register_trained'")
    table = pq.read_table(io.BytesIO(world.blobs.get_bytes(payload["golden_candidates"]["digest"])))
    assert "arr_delay" not in table.column_names
    assert len(table) > 200
