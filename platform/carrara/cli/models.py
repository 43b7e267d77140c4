"""`carrara model ... | version ...`: what was trained, where it comes from, what became of it."""

from pathlib import Path
from typing import Annotated

import typer

from carrara.cli import session
from carrara.cli.endpoints import ModelName, Number
from carrara.cli.session import command
from carrara.cli.terminal import short, shown, terminal
from carrara.contracts.registry import VersionState

models = typer.Typer(help="Models.", no_args_is_help=True)
versions = typer.Typer(help="Versions of a model.", no_args_is_help=True)


@command(models, "list")
def list_models(
    search: Annotated[str | None, typer.Option(help="Any part of the name.")] = None,
    limit: Annotated[int, typer.Option(min=1)] = 100,
) -> None:
    """Models, by name."""
    found = list(session.project().models.all(search=search, limit=limit))
    rows = [(m.name, m.versions, m.latest_version, m.latest_state, m.created_at) for m in found]
    terminal.table(["model", "versions", "newest", "state", "since"], rows, empty="none yet: `carrara train SPEC`")
    terminal.answer(found)


@command(versions, "list")
def list_versions(
    model: ModelName,
    state: Annotated[VersionState | None, typer.Option(help="Only these.")] = None,
    limit: Annotated[int, typer.Option(min=1)] = 20,
) -> None:
    """A model's versions, newest first."""
    found = list(session.project().models.versions(model, state=state, limit=limit))
    rows = [(v.number, v.state, v.source, v.author, short(v.release), v.created_at) for v in found]
    terminal.table(["version", "state", "source", "author", "release", "registered"], rows, empty="none")
    terminal.answer(found)


@command(versions, "show")
def show(model: ModelName, number: Number) -> None:
    """One version: state, lineage, contract, metrics of its newest evaluation."""
    project = session.project()
    version, lineage = project.models.version(model, number), project.models.lineage(model, number)
    evaluation = project.evaluations.newest(model, number)
    terminal.say(f"[bold]{version.model} {version.number}[/]: {version.state}, by {version.author}")
    if version.rejection is not None:
        terminal.say(f"[red]{version.rejection.reason}[/]: {shown(version.rejection.message)}")
    terminal.table(["from", "what", "id"], [(s.kind, s.name, s.id) for s in lineage.steps], empty="no lineage")
    if version.contract is not None:
        columns = [(c.name, c.type, c.nullable, _range(c.minimum, c.maximum)) for c in version.contract.inputs]
        terminal.table(["input", "type", "nullable", "seen"], columns, empty="no inputs")
    if evaluation is not None:
        metrics = evaluation.report.metrics.items()
        rows = [(name, m.value, m.lower, m.upper) for name, m in metrics]
        terminal.table(["metric on holdout", "value", "95 % from", "to"], rows, empty="no metrics")
    terminal.answer({"version": version, "lineage": lineage, "evaluation": evaluation})


@command(versions, "pull")
def pull(
    model: ModelName,
    number: Number,
    directory: Annotated[Path, typer.Option("--to", help="Where to; made if absent.")] = Path(),
) -> None:
    """Download a version's model folder, each file checked against its digest."""
    target = directory if directory != Path() else Path(f"{model}-{number}")
    version = session.project().models.pull(model, number, target)
    terminal.say(f"{len(version.files)} files in {target}; load them with mlflow.pyfunc.load_model({str(target)!r})")
    terminal.answer({"directory": str(target), "files": version.files})


@command(versions, "retire")
def retire(
    model: ModelName, number: Number, reason: Annotated[str, typer.Option("--reason", "-m", help="Why.")]
) -> None:
    """Take a version out of use; refused while it is live or would be rolled back to."""
    version = session.project().models.retire(model, number, reason=reason)
    terminal.say(f"{version.model} {version.number} is {version.state}")
    terminal.answer(version)


def _range(minimum: float | None, maximum: float | None) -> str | None:
    return None if minimum is None or maximum is None else f"{minimum:g} to {maximum:g}"
