"""Where a version comes from, step by step. Pure: made from the version as it is shown."""

from collections.abc import Iterator, Mapping
from typing import Any

from carrara.contracts.registry import LineageStep, LineageView, VersionView


def lineage_of(version: VersionView) -> LineageView:
    """Data, code, job, run, version and release, in that order, as far as they are known."""
    return LineageView(model=version.model, version=version.number, steps=list(_steps(version)))


def _steps(version: VersionView) -> Iterator[LineageStep]:
    origin = version.lineage
    data = origin.get("data")
    if isinstance(data, Mapping):
        yield LineageStep(
            kind="data",
            id=str(data["snapshot_digest"]),
            name=f"{origin.get('dataset')} snapshot {data['snapshot_number']}",
            facts={"snapshot_id": data["snapshot_id"], "split_id": data["split_id"], "split": data["split_digest"]},
        )
    code = _code(origin)
    if code is not None:
        yield code
    if version.job_id is not None:
        yield LineageStep(kind="job", id=str(version.job_id), name="training job", facts=_settings(origin))
    if version.mlflow_run_id is not None:
        yield LineageStep(kind="run", id=version.mlflow_run_id, name="MLflow run")
    yield LineageStep(
        kind="version",
        id=str(version.id),
        name=f"{version.model} version {version.number}",
        facts={"artifact_digest": version.artifact_digest, "author": version.author, "state": version.state.value},
    )
    if version.release is not None:
        yield LineageStep(kind="release", id=version.release, name=f"release of version {version.number}")


def _code(origin: Mapping[str, Any]) -> LineageStep | None:
    trainer = origin.get("trainer")
    if not isinstance(trainer, Mapping):
        return None
    facts = {key: origin[key] for key in ("git_commit", "git_is_dirty") if origin.get(key) is not None}
    if "entry" in trainer:
        return LineageStep(kind="code", id=str(trainer["bundle"]), name=str(trainer["entry"]), facts=facts)
    name = f"built-in trainer {trainer.get('builtin')}"
    return LineageStep(kind="code", id=str(trainer.get("builtin")), name=name, facts=facts)


def _settings(origin: Mapping[str, Any]) -> dict[str, Any]:
    return {key: origin[key] for key in ("params", "seed", "features", "train_rows", "packages") if key in origin}
