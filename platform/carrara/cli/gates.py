"""`carrara evaluate | gates ...`: the evidence, and what the policy says of it."""

from pathlib import Path
from typing import Annotated

import typer

from carrara.cli import session
from carrara.cli.endpoints import ModelName, Number
from carrara.cli.exits import Exit
from carrara.cli.session import command
from carrara.cli.terminal import short, shown, terminal
from carrara.contracts.gates import GateReport, Outcome
from carrara.contracts.jobs import JobState

app = typer.Typer()
gates = typer.Typer(help="Gates: rules that a version must meet.", no_args_is_help=True)

EXIT_OF = {Outcome.PASSED: Exit.OK, Outcome.FAILED: Exit.REFUSED, Outcome.COULD_NOT_TELL: Exit.HELD}
AtEndpoint = Annotated[str | None, typer.Option("--endpoint", "-e", help="Against what is live there.")]


@command(app)
def evaluate(
    model: ModelName,
    number: Number,
    endpoint: AtEndpoint = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until it is done.")] = True,
) -> None:
    """Evaluate a version on its holdout, and the live release on the same rows."""
    client = session.project()
    job = client.evaluations.request(model, number, endpoint=endpoint)
    if wait:
        with terminal.progress() as bar:
            task = bar.add_task("evaluating", total=1.0)
            job = client.jobs.wait(job.id, on_change=lambda now: bar.update(task, completed=now.progress.fraction or 0))
    if wait and job.state is not JobState.SUCCEEDED:
        terminal.note(f"[red]{job.state}[/]: {shown(job.error.message) if job.error else 'it was cancelled'}")
        terminal.answer(job)
        raise typer.Exit(Exit.JOB_FAILED)
    terminal.say(f"job {job.id} is {job.state}")
    terminal.answer(job)


@command(gates, "explain")
def explain(model: ModelName, number: Number, endpoint: AtEndpoint = None) -> None:
    """Judge a version by an endpoint's policy and change nothing. Exit 0 passed, 5 failed, 4 could not tell."""
    report = session.project().evaluations.gates(model, number, endpoint=endpoint)
    show_gates(report)
    terminal.answer(report)
    raise typer.Exit(EXIT_OF[report.outcome])


@command(gates, "put")
def put(
    document: Annotated[Path, typer.Argument(help="A policy, YAML or JSON.", exists=True, dir_okay=False)],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the digest and nothing else.")] = False,
) -> None:
    """Keep a gate policy. Its digest is its name: give it to an endpoint."""
    policy = session.project().evaluations.put_policy(document)
    if quiet:
        typer.echo(policy.digest)
        return
    terminal.say(f"policy [bold]{policy.digest}[/]")
    terminal.answer(policy)


def show_gates(report: GateReport) -> None:
    """A gate report for people."""
    policy = "the task's default policy" if report.policy_is_default else f"policy {short(report.policy_digest)}"
    terminal.say(f"[bold]{report.model} {report.version}[/] by {policy}")
    rows = [(verdict.asked, verdict.outcome, verdict.finding, verdict.how_to_pass) for verdict in report.verdicts]
    terminal.table(["rule", "", "finding", "how to pass"], rows, empty="no rules")
