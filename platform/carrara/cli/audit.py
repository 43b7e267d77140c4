"""`carrara audit ...`: who did what, and the proof that nobody changed the record of it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from carrara.cli import session
from carrara.cli.exits import Exit
from carrara.cli.session import command
from carrara.cli.terminal import terminal
from carrara.contracts.audit import AuditHead

audit = typer.Typer(help="The audit trail and its chain.", no_args_is_help=True)


@command(audit, "list")
def list_records(
    limit: Annotated[int, typer.Option(min=1)] = 20,
    subject_kind: Annotated[str | None, typer.Option("--kind", help="With --id: of one thing.")] = None,
    subject_id: Annotated[str | None, typer.Option("--id", help="With --kind: of one thing.")] = None,
) -> None:
    """Acts in the project, newest first."""
    found = list(session.project().audit.records(limit=limit, subject_kind=subject_kind, subject_id=subject_id))
    rows = [(r.at, r.actor, r.action, f"{r.subject_kind} {r.subject_id}", r.position) for r in found]
    terminal.table(["at", "who", "did", "to", "sealed at"], rows, empty="nothing has happened")
    terminal.answer(found)


@command(audit, "verify")
def verify(
    head_file: Annotated[
        Path | None, typer.Option("--head", help="A head that you kept (`carrara audit head --json`).", exists=True)
    ] = None,
) -> None:
    """Compute the whole chain anew. Exit 0 if it holds, 1 naming the first record that was touched."""
    heads = [AuditHead.model_validate(json.loads(head_file.read_text()))] if head_file is not None else []
    report = session.connect().verify_audit(heads)
    if report.broken is None:
        terminal.say(f"[green]the chain holds[/]: {report.checked} records, {report.unsealed} too new to be sealed")
    else:
        terminal.say(
            f"[bold red]{report.broken.fault}[/] at position {report.broken.position}: {report.broken.message}"
        )
    terminal.answer(report)
    if not report.holds:
        raise typer.Exit(Exit.FAULT)


@command(audit, "head")
def head() -> None:
    """The end of the chain. Keep it elsewhere: it proves later that nothing was cut off."""
    found = session.connect().audit_head()
    terminal.say(f"position {found.position}, {found.digest}")
    terminal.answer(found)
