"""`carrara up`, `down`, `status` and `doctor`: the whole platform on this machine."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from carrara.cli.exits import Exit, exit_of
from carrara.cli.stack_view import Event, JsonLines, LiveTable, PlainLines, View, summary
from carrara.embedded.doctor import Outcome, examine
from carrara.embedded.layout import DataDirectory, open_data_directory
from carrara.embedded.plan import AskedPorts
from carrara.embedded.stack import run_stack, stop_stack
from carrara.embedded.status import StackStatus, Verdict, look
from carrara.kernel.errors import CarraraError, Conflict, Invalid, Unavailable

app = typer.Typer()

DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="CARRARA_DATA_DIR", help="Where all data, secrets and logs are.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]
Port = Annotated[int | None, typer.Option("--port", help="Of the API and the web pages; 8080 if it is free.")]
ServingPort = Annotated[int | None, typer.Option("--serving-port", help="Of the predictions; 8081 if it is free.")]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Return when all is ready; it runs on behind.")]
DEFAULT_DATA_DIR = Path(".carrara")
NOT_RUNNING = Exit.ROLLED_BACK  # 3, as for the init scripts of Linux; another command means something else by it


@app.command()
def up(
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    port: Port = None,
    serving_port: ServingPort = None,
    detach: Detach = False,
    as_json: AsJson = False,
    events_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Start everything and keep it running until Ctrl-C, SIGTERM or `carrara down`.

    Exit codes: 0 stopped as asked (or ready, with --detach); 9 a process, a folder or the disk says no; 10 a setting
    is wrong; 11 it runs already, or a port is taken.
    """
    view = _view(as_json=as_json, events_fd=events_fd)
    place = DataDirectory(data_dir.absolute())
    try:
        if detach:
            _start_behind(place, port, serving_port, view)
        else:
            run_stack(data_dir, AskedPorts(port, serving_port), os.environ, report=_announcing(view, place))
    except (CarraraError, OSError) as error:
        failure = error if isinstance(error, CarraraError) else Unavailable(f"the machine says no: {error}")
        if isinstance(view, JsonLines):
            view.show({"event": "error", "kind": failure.kind, "code": failure.code, "message": failure.message})
        else:
            view.close()
            typer.echo(f"carrara: {failure.message}", err=True)
        raise typer.Exit(exit_of(failure)) from None
    finally:
        view.close()


@app.command()
def down(*, data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """Stop everything that `carrara up` started in this data directory. Exit code 0 also if nothing ran."""
    try:
        stopped = stop_stack(data_dir)
    except CarraraError as error:
        _say_error(error, as_json=as_json)
        raise typer.Exit(exit_of(error)) from None
    if as_json:
        _print_json({"stopped": stopped})
    else:
        typer.echo("stopped" if stopped else f"nothing runs in {data_dir.absolute()}")


@app.command()
def status(
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
    as_env: Annotated[bool, typer.Option("--env", help="Its addresses, for `source <(carrara status --env)`.")] = False,
) -> None:
    """Say what runs, asking every process now.

    Exit codes: 0 all healthy, 1 something is not, 3 not running, 4 could not find out.
    """
    try:
        found = look(data_dir)
    except (CarraraError, OSError) as error:
        _say_error(Unavailable(f"could not find out: {error}"), as_json=as_json)
        raise typer.Exit(Exit.HELD) from None
    if as_env:
        for variable, name in (("CARRARA_URL", "platform"), ("CARRARA_SERVING_URL", "serving")):
            typer.echo(f"export {variable}={found.urls.get(name, '')}")
    elif as_json:
        _print_json(found.to_json())
    else:
        _print_status(found)
    codes = {Verdict.HEALTHY: Exit.OK, Verdict.DEGRADED: Exit.FAULT, Verdict.NOT_RUNNING: NOT_RUNNING}
    raise typer.Exit(codes[found.verdict])


@app.command()
def doctor(*, data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """Look for what is wrong and say how to mend it.

    Exit codes: 0 nothing is wrong, 1 something is, 4 nothing is known to be wrong but not all could be found out.
    """
    findings = examine(data_dir, os.environ)
    if as_json:
        _print_json({"findings": [finding.to_json() for finding in findings]})
    else:
        console = Console()
        styles = {Outcome.OK: "green", Outcome.PROBLEM: "red", Outcome.UNKNOWN: "yellow"}
        table = Table.grid(padding=(0, 2))
        for finding in findings:
            said = finding.message + (f"\n→ {finding.mend}" if finding.mend else "")
            table.add_row(Text(finding.outcome.value, style=styles[finding.outcome]), finding.name, Text(said))
        console.print(table)
    outcomes = {finding.outcome for finding in findings}
    if Outcome.PROBLEM in outcomes:
        raise typer.Exit(Exit.FAULT)
    raise typer.Exit(Exit.HELD if Outcome.UNKNOWN in outcomes else Exit.OK)


def _view(*, as_json: bool, events_fd: int | None) -> View:
    if events_fd is not None:
        return JsonLines(os.fdopen(events_fd, "w", encoding="utf-8"), sys.stdout)
    if as_json:
        return JsonLines(sys.stdout)
    console = Console()
    return LiveTable(console) if console.is_terminal else PlainLines(sys.stdout)


def _announcing(view: View, place: DataDirectory) -> Callable[[Event], None]:
    def show(event: Event) -> None:
        view.show(event)
        if event["event"] == "ready":
            view.say(_summary(event["urls"], place) + "\nCtrl-C or `carrara down` stops all of it.")

    return show


def _start_behind(place: DataDirectory, port: int | None, serving_port: int | None, view: View) -> None:
    """Starts the same command in a session of its own and shows its events until it is ready."""
    open_data_directory(place.root)
    read_end, write_end = os.pipe()
    command = [sys.executable, "-P", "-m", "carrara.cli.main", "up", "--data-dir", str(place.root)]
    command += [f"--events-fd={write_end}"]
    command += [f"--port={port}"] if port is not None else []
    command += [f"--serving-port={serving_port}"] if serving_port is not None else []
    with (place.logs / "supervisor.log").open("ab") as log:
        behind = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(write_end,), start_new_session=True
        )
    os.close(write_end)
    with os.fdopen(read_end, encoding="utf-8") as events:
        try:
            ready = _follow(events, view)
        except KeyboardInterrupt:
            behind.send_signal(signal.SIGTERM)
            behind.wait()
            raise
    if not ready:
        raise Unavailable(f"the platform ended before it was ready; see {place.logs / 'supervisor.log'}")
    behind.returncode = 0  # it outlives us
    view.say(_summary(ready["urls"], place))


def _follow(events: Any, view: View) -> Event | None:
    for line in events:
        event: Event = json.loads(line)
        if event["event"] == "error":
            raise _failure_of(event)
        view.show(event)
        if event["event"] == "ready":
            return event
    return None


def _failure_of(event: Event) -> CarraraError:
    kinds = {kind.default_code: kind for kind in (Conflict, Invalid, Unavailable)}
    return kinds.get(event["kind"], CarraraError)(event["message"], code=event["code"])


def _summary(urls: dict[str, str], place: DataDirectory) -> str:
    return summary(urls, str(place.root), str(place.admin_token), has_token=place.admin_token.exists())


def _print_status(found: StackStatus) -> None:
    if found.verdict is Verdict.NOT_RUNNING:
        typer.echo(f"not running in {found.data_dir}")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("process", "state", "answer", "pid", "port", "up", "restarts", ""):
        table.add_column(title)
    for row in found.processes:
        up_for = f"{row.uptime_seconds:.0f} s" if row.uptime_seconds is not None else ""
        style = "" if row.is_healthy else "red"
        cells = (row.name, row.state, row.answer, row.pid or "", row.port or "", up_for, row.restarts, row.detail)
        table.add_row(*(str(cell) for cell in cells), style=style)
    console = Console()
    console.print(table)
    console.print(f"\n{found.verdict.value} (process {found.supervisor_pid}, {found.state})", highlight=False)
    for name, url in found.urls.items():
        console.print(f"{name} {url}", highlight=False)


def _say_error(error: CarraraError, *, as_json: bool) -> None:
    if as_json:
        _print_json({"error": {"kind": error.kind, "code": error.code, "message": error.message}})
    else:
        typer.echo(f"carrara: {error.message}", err=True)


def _print_json(data: Any) -> None:
    typer.echo(json.dumps(data, default=str))
