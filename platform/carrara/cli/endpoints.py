"""`carrara endpoint ... | approve | reject | promote | rollback | history`: what is live, and how it got there."""

import json
from datetime import datetime
from typing import Annotated

import typer

from carrara.cli import session
from carrara.cli.exits import Exit
from carrara.cli.session import command
from carrara.cli.terminal import short, shown, terminal
from carrara.contracts.deployments import EndpointView, PromotionView, ReleaseRef, RolloutView
from carrara.contracts.routes import Fallback
from carrara.kernel.errors import Invalid

STATE_STYLE = {"serving": "green", "converging": "yellow", "stale": "yellow", "unknown": "red", "empty": "dim"}

app = typer.Typer()
endpoints = typer.Typer(help="Endpoints: addresses that never change.", no_args_is_help=True)

EndpointName = Annotated[str, typer.Argument(help="The endpoint's name.")]
ModelName = Annotated[str, typer.Argument(help="The model's name.")]
Number = Annotated[int, typer.Argument(min=1, help="The version's number.")]
Why = Annotated[str, typer.Option("--reason", "-m", help="Why; kept in the history for ever.")]
Endpoint = Annotated[str, typer.Option("--endpoint", "-e", help="The endpoint's name.")]


@command(endpoints, "create")
def create(
    name: EndpointName,
    policy: Annotated[str | None, typer.Option(help="Digest of a gate policy (`carrara gates put`).")] = None,
    fallback: Annotated[str | None, typer.Option(help="`unavailable`, or the constant to answer as JSON.")] = None,
    description: str = "",
) -> None:
    """Make an endpoint. It answers nothing until a first release is promoted."""
    made = session.project().endpoints.create(
        name, policy=policy, fallback=parse_fallback(fallback), description=description
    )
    _show(made)


@command(endpoints, "list")
def list_all() -> None:
    """Every endpoint: what is live, with the evidence."""
    found = list(session.project().endpoints.all())
    rows = [(e.name, named(e.desired), e.status.state, e.status.message, named(e.rollback.target)) for e in found]
    columns = ["endpoint", "live", "status", "evidence", "goes back to"]
    terminal.table(columns, rows, empty="none: `carrara endpoint create NAME`")
    terminal.answer(found)


@command(endpoints, "show")
def show(name: EndpointName) -> None:
    """One endpoint: live release, evidence, rollback target, rollout under way."""
    _show(session.project().endpoints.get(name))


@command(endpoints, "policy")
def set_policy(
    name: EndpointName,
    digest: Annotated[str | None, typer.Argument(help="Digest of a policy; none for the task's default.")] = None,
    reason: Why = "",
) -> None:
    """Choose the gate policy of the next promotions."""
    _show(session.project().endpoints.set_policy(name, digest, reason=reason))


@command(endpoints, "fallback")
def set_fallback(
    name: EndpointName,
    fallback: Annotated[str, typer.Argument(help="`unavailable`, or the constant to answer as JSON.")],
    reason: Why = "",
) -> None:
    """Declare what answers when no release is live."""
    _show(session.project().endpoints.set_fallback(name, parse_fallback(fallback), reason=reason))


@command(app)
def approve(
    model: ModelName,
    version: Number,
    endpoint: Endpoint,
    comment: Annotated[str, typer.Option("--comment", "-m")] = "",
) -> None:
    """Approve a version's release for an endpoint, on the gate report that is printed. Its author may not."""
    _decide(model, version, endpoint, "approved", comment)


@command(app)
def reject(
    model: ModelName,
    version: Number,
    endpoint: Endpoint,
    comment: Annotated[str, typer.Option("--comment", "-m")] = "",
) -> None:
    """Reject a version's release for an endpoint, on the gate report that is printed."""
    _decide(model, version, endpoint, "rejected", comment)


@command(app)
def promote(
    model: ModelName,
    version: Number,
    endpoint: Endpoint,
    reason: Why = "",
    fallback: Annotated[
        str | None, typer.Option(help="For a first promotion: `unavailable`, or a JSON constant.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is met and what is not.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until it is confirmed or has failed.")] = True,
    expected_revision: Annotated[int | None, typer.Option(help="Refuse if the endpoint has changed since.")] = None,
) -> None:
    """Make a version live: gates, approval, way back rehearsed, switched, confirmed by every serving process."""
    client = session.project().endpoints
    answer = client.promote(
        endpoint,
        model,
        version,
        reason=reason,
        fallback=parse_fallback(fallback),
        dry_run=dry_run or None,
        expected_revision=expected_revision,
    )
    if answer.rollout is None:
        _explain(answer)
        raise typer.Exit(Exit.OK if answer.ready else Exit.REFUSED)
    if not wait:
        terminal.say(f"promotion of {model} {version} has started: {answer.rollout.id}")
        terminal.answer(answer)
        return
    with terminal.progress() as bar:
        task = bar.add_task(f"promoting {model} {version}", total=4)

        def show_step(rollout: RolloutView) -> None:
            steps = {"preparing": 1, "rehearsing": 2, "switching": 3}
            bar.update(
                task, completed=steps.get(rollout.state, 4), description=shown(f"{rollout.state}: {rollout.reason}")
            )

        ended = client.wait_for_rollout(endpoint, answer.rollout.id, on_change=show_step)
    _tell_end(ended)


@command(app)
def rollback(
    endpoint: EndpointName,
    reason: Why,
    to: Annotated[
        str | None,
        typer.Option(help="`fallback`, or the digest of an earlier release that every serving process holds."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until every process has followed.")] = True,
) -> None:
    """Go back to the rollback target, which is kept loaded; or `--to fallback`. Committed at once.

    While a promotion has not switched yet, it is only ended: what answers is good. If somebody else went back in the
    meantime, nothing happens and you are told who.
    """
    client = session.project().endpoints
    leaving = to_leave(client.get(endpoint), to)
    view = client.roll_back(endpoint, reason=reason, to=to, leaving=leaving.digest if leaving else None)
    terminal.say(f"[bold]{endpoint}[/]: {shown(view.message)}")
    if wait and not view.only_aborted:
        confirmed = client.wait_until_confirmed(endpoint)
        terminal.say(f"[green]{shown(confirmed.status.message)}[/]")
    terminal.answer(view)


@command(app)
def history(
    endpoint: EndpointName,
    at: Annotated[datetime | None, typer.Option(help="Only what was live at this moment.")] = None,
) -> None:
    """What was live when, by whom, why."""
    moment = at.astimezone() if at is not None else None
    entries = session.project().endpoints.history(endpoint, at=moment)
    rows = [
        (e.since, e.until, named(e.release) or "fallback", e.kind, e.by, "yes" if e.is_confirmed else "no", e.reason)
        for e in entries
    ]
    columns = ["since", "until", "live", "by way of", "by", "confirmed", "why"]
    terminal.table(columns, rows, empty="nothing was ever live here")
    terminal.answer(entries)


def parse_fallback(text: str | None) -> Fallback | None:
    """`unavailable`, or a JSON constant, as the API wants it."""
    if text is None:
        return None
    if text == "unavailable":
        return Fallback(kind="unavailable")
    try:
        return Fallback(kind="constant", prediction=json.loads(text))
    except ValueError as error:
        raise Invalid(
            f"--fallback {text!r}: expected `unavailable`, or one JSON value such as false, 0 or '\"no\"'",
            code="bad_fallback",
        ) from error


def to_leave(seen: EndpointView, to: str | None) -> ReleaseRef | None:
    """What a rollback is to leave, of an endpoint as its caller saw it: the release of a rollout that has not switched,
    unless `to` asks for another than the live one; else the live release; None if the fallback answers."""
    rollout = seen.rollout
    if rollout is not None and to is None:
        return rollout.release
    return seen.desired


def named(release: ReleaseRef | None) -> str | None:
    """A release as people say it."""
    return f"{release.model} {release.version} ({short(release.digest)})" if release else None


def _decide(model: str, version: int, endpoint: str, decision: str, comment: str) -> None:
    project = session.project()
    report = project.evaluations.gates(model, version, endpoint=endpoint)
    terminal.say(
        f"gates of [bold]{model} {version}[/] at [bold]{endpoint}[/]: {report.outcome}"
        f"\n  evaluation {report.evaluation_digest or 'none'}\n  policy {report.policy_digest}"
    )
    made = project.endpoints.decide(
        endpoint,
        model,
        version,
        decision="approved" if decision == "approved" else "rejected",
        comment=comment,
        seen=report,
    )
    own = " [yellow](own version: sandbox tier)[/]" if made.is_self_approval else ""
    terminal.say(f"{decision} {named(made.release)} for [bold]{endpoint}[/] by {made.approver}{own}")
    terminal.answer(made)


def _show(endpoint: EndpointView) -> None:
    style = STATE_STYLE[endpoint.status.state]
    terminal.say(f"[bold]{endpoint.name}[/]  [{style}]{endpoint.status.state}[/]: {shown(endpoint.status.message)}")
    back = endpoint.rollback
    terminal.table(
        ["", ""],
        [
            ("should answer", named(endpoint.desired)),
            ("last confirmed", named(endpoint.current)),
            ("candidate", named(endpoint.candidate)),
            ("goes back to", named(back.target) or ("the fallback" if back.possible else back.reason)),
            ("fallback", endpoint.fallback.model_dump_json() if endpoint.fallback else None),
            ("policy", short(endpoint.policy) or "the task's default"),
            ("revision", endpoint.revision),
        ],
        empty="",
    )
    terminal.answer(endpoint)


def _explain(answer: PromotionView) -> None:
    rows = [(check.name, check.outcome, check.finding, check.how_to_pass) for check in answer.checks]
    terminal.table(["condition", "", "finding", "how to meet it"], rows, empty="no conditions")
    terminal.say("[green]nothing stands in the way[/]" if answer.ready else "[red]not ready[/]")
    terminal.answer(answer)


def _tell_end(rollout: RolloutView) -> None:
    if rollout.state == "confirmed":
        terminal.say(
            f"[green]live[/]: {named(rollout.release)} at [bold]{rollout.endpoint}[/]. {shown(rollout.reason)}"
        )
    else:
        terminal.say(f"[red]{rollout.state}[/]: {shown(rollout.reason)}. What was live before is live.")
    terminal.answer(rollout)
    if rollout.state != "confirmed":
        raise typer.Exit(Exit.ROLLED_BACK)
