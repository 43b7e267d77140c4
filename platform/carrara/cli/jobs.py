"""`carrara train | job ...`: start work, watch it, stop it."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.progress import Progress

from carrara.cli import session
from carrara.cli.exits import Exit
from carrara.cli.session import command
from carrara.cli.terminal import clean, shown, terminal
from carrara.contracts.jobs import JobKind, JobState, JobView
from carrara.contracts.registry import VersionState, VersionView
from carrara.sdk.project import ProjectClient

app = typer.Typer()
jobs = typer.Typer(help="Jobs: training, validation, evaluation.", no_args_is_help=True)

JobArgument = Annotated[UUID, typer.Argument(metavar="JOB", help="The job's id.")]


@command(app)
def train(
    spec: Annotated[Path, typer.Argument(help="A training spec, YAML or JSON.", exists=True, dir_okay=False)],
    code: Annotated[Path | None, typer.Option(help="The code's directory, if not the spec's.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until the version is evaluated.")] = False,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key is the same job.")] = None,
) -> None:
    """Train a model from a spec; the code beside it is bundled and stamped with its git commit."""
    client = session.project()
    job = client.training.start(spec, code=code, key=key)
    if not wait:
        terminal.say(f"job [bold]{job.id}[/] is {job.state}; follow it with `carrara job logs {job.id} --follow`")
        terminal.answer(job)
        return
    with terminal.progress() as bar:
        ended = _watch(client, job, bar)
        if ended.state is not JobState.SUCCEEDED:
            raise typer.Exit(_tell_failure(ended))
        version = _await_version(client, ended, bar)
    terminal.answer({"job": ended, "version": version})
    if version.state is VersionState.REJECTED:
        reason = version.rejection.message if version.rejection else "no reason is known"
        terminal.note(f"[red]rejected[/]: {version.model} {version.number}: {shown(reason)}")
        raise typer.Exit(Exit.REFUSED)
    evaluation = client.evaluations.newest(version.model, version.number)
    found = evaluation.report.metrics if evaluation is not None else {}
    figures = ", ".join(f"{name} {metric.value:.4g}" for name, metric in found.items() if metric.value is not None)
    terminal.say(f"[green]{version.state}[/]: [bold]{version.model} {version.number}[/], on the holdout {figures}")


@command(jobs, "list")
def list_jobs(
    state: Annotated[JobState | None, typer.Option(help="Only these.")] = None,
    kind: Annotated[JobKind | None, typer.Option(help="Only these.")] = None,
    limit: Annotated[int, typer.Option(min=1)] = 20,
) -> None:
    """Jobs, newest first."""
    found = list(session.project().jobs.all(state=state, kind=kind, limit=limit))
    rows = [(j.id, j.kind, j.state, j.attempt, j.progress.message, j.submitted_by, j.created_at) for j in found]
    columns = ["job", "kind", "state", "attempt", "progress", "by", "submitted"]
    terminal.table(columns, rows, empty="none yet: `carrara train SPEC`")
    terminal.answer(found)


@command(jobs, "show")
def show(job_id: JobArgument) -> None:
    """One job: state, progress, result or error."""
    job = session.project().jobs.get(job_id)
    terminal.say(f"[bold]{job.kind}[/] {job.id}: {job.state}, attempt {job.attempt} of {job.max_attempts}")
    if job.error is not None:
        terminal.say(f"[red]{job.error.reason}[/] ({job.error.error_class}): {shown(job.error.message)}")
        if job.error.traceback:
            terminal.say(shown(job.error.traceback))
    if job.follow_up_error is not None:
        ends = "given up" if job.follow_up_error.given_up else "it will be tried again"
        terminal.say(f"[red]no version of it yet[/] ({ends}): {shown(job.follow_up_error.message)}")
    for name, value in (job.result or {}).items():
        terminal.say(f"  {name}: {shown(str(value))}")
    terminal.answer(job)


@command(jobs, "logs")
def logs(
    job_id: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the job ends.")] = False,
) -> None:
    """What a job printed."""
    chunks = session.project().jobs.logs(job_id, follow=follow)
    if terminal.as_json:
        terminal.answer(list(chunks))
        return
    for chunk in chunks:
        typer.echo(clean(chunk.text), nl=False)


@command(jobs, "cancel")
def cancel(job_id: JobArgument) -> None:
    """Stop a job. Doing it twice, or after its end, changes nothing."""
    job = session.project().jobs.cancel(job_id)
    terminal.say(f"{job.id} is {job.state}" + (", and will stop" if job.state is JobState.RUNNING else ""))
    terminal.answer(job)


@command(jobs, "retry")
def retry(job_id: JobArgument) -> None:
    """The same work again, as a new job."""
    job = session.project().jobs.retry(job_id)
    terminal.say(f"job [bold]{job.id}[/] is {job.state}")
    terminal.answer(job)


@command(jobs, "wait")
def wait_for(job_id: JobArgument) -> None:
    """Wait for a job's end; exit 0 only if it succeeded."""
    client = session.project()
    with terminal.progress() as bar:
        job = _watch(client, client.jobs.get(job_id), bar)
    if job.state is not JobState.SUCCEEDED:
        raise typer.Exit(_tell_failure(job))
    terminal.say(f"[green]{job.state}[/]")
    terminal.answer(job)


def _watch(client: ProjectClient, job: JobView, bar: Progress) -> JobView:
    task = bar.add_task(f"{job.kind}: {job.state}", total=1.0)

    def show_progress(now: JobView) -> None:
        text = now.progress.message or now.state.value
        bar.update(task, completed=now.progress.fraction or 0, description=shown(f"{now.kind}: {text}"))

    return client.jobs.wait(job.id, on_change=show_progress)


def _await_version(client: ProjectClient, job: JobView, bar: Progress) -> VersionView:
    model = str(job.spec["model"])
    task = bar.add_task("registering", total=None)

    def show_state(version: VersionView) -> None:
        bar.update(task, description=f"{version.model} {version.number} is {version.state}")

    until = frozenset({VersionState.VALIDATED}) if job.spec.get("evaluate") is False else frozenset()
    settled = until | {VersionState.EVALUATED, VersionState.REJECTED}
    return client.models.wait_for_job(model, job.id, until=settled, on_change=show_state)


def _tell_failure(job: JobView) -> Exit:
    error = job.error
    terminal.note(f"[red]{job.state}[/]: {shown(error.message) if error else 'it was cancelled'}")
    if error is not None and error.traceback:
        terminal.note(f"[dim]{shown(error.traceback)}[/]")
    terminal.answer(job)
    return Exit.JOB_FAILED
