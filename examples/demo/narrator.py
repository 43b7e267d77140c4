"""What the demo says: a line for each step, a bar for long ones, and a table with the times at the end."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from carrara.kernel.errors import Invalid

if TYPE_CHECKING:
    from examples.demo.platform import DemoPlatform

SETUP_MILLISECONDS = Path(".venv/.setup-milliseconds")


class Bar:
    """The progress of one step."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def show(self, fraction: float | None, text: str = "") -> None:
        """`fraction` from 0 to 1, None when it cannot be known."""
        if fraction is not None:
            self._progress.update(self._task, completed=fraction)
        if text:
            self._progress.update(self._task, description=text)


class Narrator:
    """Tells the story on standard output and keeps the times. Time counts from the `make` command, if that set it."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        started = os.environ.get("DEMO_STARTED")
        self._began = time.time() if started is None else int(started) / 1e9
        self._steps: list[tuple[str, float, str]] = []
        self._first_prediction: float | None = None

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Bar]:
        """One step of the story, timed. Append what came of it with `outcome`."""
        began = time.monotonic()
        self._outcome = ""
        columns = (TextColumn("  {task.description}"), BarColumn(bar_width=30), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as progress:
            yield Bar(progress, progress.add_task(title, total=1.0))
        seconds = time.monotonic() - began
        self._steps.append((title, seconds, self._outcome))
        self.console.print(f"[green]✓[/] {title} [dim]({seconds:.1f} s)[/]  {self._outcome}")

    def outcome(self, text: str) -> None:
        """What came of the step under way."""
        self._outcome = text

    def note(self, text: str) -> None:
        self.console.print(f"  [dim]{escape(text)}[/]")

    def mark_first_prediction(self) -> None:
        self._first_prediction = time.time() - self._began

    def fail(self, error: Exception) -> None:
        self.console.print(f"[bold red]✗ the story broke[/]: {escape(str(error))}")
        for issue in error.issues if isinstance(error, Invalid) else ():
            self.console.print(f"    {escape(issue.where)}: {escape(issue.message)}")

    def summary(self, platform: "DemoPlatform") -> None:
        """The table of steps and the three figures."""
        table = Table(title="The story", box=None, title_justify="left", header_style="bold")
        table.add_column("step")
        table.add_column("seconds", justify="right")
        table.add_column("what came of it", overflow="fold")
        for title, seconds, outcome in self._steps:
            table.add_row(title, f"{seconds:.1f}", outcome)
        self.console.print()
        self.console.print(table)
        whole = time.time() - self._began
        setup = _setup_seconds(self._began)
        self.console.print()
        self.console.print(f"set-up (venv and install): {setup}")
        self.console.print(
            f"first live prediction:     {self._first_prediction or 0:.0f} s after the command (goal 150)"
        )
        self.console.print(f"the whole story:           {whole:.0f} s (goal 480)")
        self.console.print(f"data and logs:             {platform.data_dir}")

    def addresses(self, platform: "DemoPlatform") -> None:
        """How to go on by hand."""
        self.console.print("\n[bold]The platform is still running.[/] Stop it with:")
        self.console.print(f"  .venv/bin/carrara down --data-dir {platform.data_dir}")
        self.console.print("Use it from a shell:")
        self.console.print(f"  export CARRARA_URL={platform.url} CARRARA_SERVING_URL={platform.serving_url}")
        self.console.print("  export CARRARA_PROJECT=flights")
        for name, secret in platform.secrets.items():
            self.console.print(f"  export CARRARA_TOKEN={secret}   # {name}")
        self.console.print(f"The REST API: {platform.url}/openapi.json")


def _setup_seconds(began: float) -> str:
    """How long `make setup` took, if this command had to do it."""
    if not SETUP_MILLISECONDS.exists():
        return "not made by make"
    seconds = int(SETUP_MILLISECONDS.read_text()) / 1000
    was_now = SETUP_MILLISECONDS.stat().st_mtime > began
    return f"{seconds:.0f} s (goal 90)" + ("" if was_now else ", when it was made; this time it was there")
