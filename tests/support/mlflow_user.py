"""What a data scientist does with the stock client. Run as `python -m tests.support.mlflow_user`; answers with JSON."""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
import mlflow.sklearn
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from tests.support.make_models import pipeline, rows


def log_and_register() -> dict[str, Any]:
    """Logs a run with a model, registers it, and reads everything back."""
    from sklearn.linear_model import LogisticRegression

    from carrara.inference.trusted import TRUSTED_TYPES

    frame, late = rows()
    mlflow.set_experiment("my experiments")
    with mlflow.start_run() as run:
        mlflow.log_params({"C": 1.0})
        for step in range(3):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.set_tag("note", "mine")
        mlflow.log_text("hello", "notes/hello.txt")
        info = mlflow.sklearn.log_model(
            pipeline(LogisticRegression()).fit(frame, late),
            name="model",
            signature=infer_signature(frame, late),
            input_example=frame.head(3),
            pip_requirements=["scikit-learn"],
            serialization_format="skops",
            skops_trusted_types=sorted(TRUSTED_TYPES),
            registered_model_name="late-flights",
        )
    client = mlflow.MlflowClient()
    version = client.get_model_version("late-flights", "1")
    back = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes/hello.txt")
    answers = mlflow.pyfunc.load_model("models:/late-flights/1").predict(frame.head(3))
    return {
        "run_id": run.info.run_id,
        "model_uri": info.model_uri,
        "tags": version.tags,
        "history": [point.value for point in client.get_metric_history(run.info.run_id, "loss")],
        "text": back,
        "answers": [bool(answer) for answer in answers],
        "found": [found.name for found in client.search_registered_models()],
        "runs": len(client.search_runs([run.info.experiment_id])),
    }


def try_forbidden() -> dict[str, str]:
    """What Carrara does itself: each attempt with the error that came."""
    client = mlflow.MlflowClient()
    run = client.create_run(client.create_experiment("attempts"))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x").write_text("x")
        client.log_artifacts(run.info.run_id, folder)
    attempts = {
        "alias": lambda: client.set_registered_model_alias("late-flights", "champion", "1"),
        "stage": lambda: client.transition_model_version_stage("late-flights", "1", "Production"),
        "delete version": lambda: client.delete_model_version("late-flights", "1"),
        "delete model": lambda: client.delete_registered_model("late-flights"),
        "delete run": lambda: client.delete_run(run.info.run_id),
        "our tag on a version": lambda: client.set_model_version_tag("late-flights", "1", "carrara.author", "x"),
        "our tag on a run": lambda: client.set_tag(run.info.run_id, "carrara.job", "x"),
        "our tag in a batch": lambda: client.log_batch(
            run.info.run_id, tags=[mlflow.entities.RunTag("Carrara.Job", "x")]
        ),
        "a bad name": lambda: client.create_registered_model("../../x"),
        "a prompt": lambda: client.create_registered_model("p", tags={"mlflow.prompt.is_prompt": "true"}),
    }
    return {name: _error(attempt) for name, attempt in attempts.items()}


def _error(attempt: Any) -> str:
    try:
        attempt()
    except MlflowException as error:
        return f"{error.error_code}: {error.message}"
    return "it worked"


if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    acts = {"log_and_register": log_and_register, "try_forbidden": try_forbidden}
    json.dump(acts[sys.argv[1]](), sys.stdout)
