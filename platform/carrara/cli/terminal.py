"""What a command prints: tables and sentences for people, one JSON document for machines (`--json`)."""

import contextlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from carrara.cli.exits import exit_of
from carrara.kernel.errors import CarraraError, Invalid

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
MARKS = {"passed": "[green]passed[/]", "failed": "[red]failed[/]", "could_not_tell": "[yellow]could not tell[/]"}


class Terminal:
    """Standard output for answers, standard error for progress and faults."""

    def __init__(self) -> None:
        self.as_json = False
        self.out = Console(highlight=False, soft_wrap=True)
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """A sentence for people; silent with `--json`."""
        if not self.as_json:
            self.out.print(text)

    def note(self, text: str) -> None:
        """Something on the way to the answer, on standard error."""
        if not self.as_json:
            self.err.print(text)

    def answer(self, value: Any) -> None:
        """The answer as JSON, if that was asked for."""
        if self.as_json:
            sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
        """Rows for people; `empty` says what to do when there are none."""
        if self.as_json:
            return
        listed = list(rows)
        if not listed:
            self.out.print(f"[dim]{empty}[/]")
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in listed:
            table.add_row(*(cell(value) for value in row))
        self.out.print(table)

    @contextlib.contextmanager
    def progress(self) -> Iterator[Progress]:
        """A live bar on standard error; nothing when that is no terminal or JSON was asked for."""
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            console=self.err,
            transient=True,
            disable=self.as_json or not self.err.is_terminal,
        ) as bar:
            yield bar

    def fault(self, error: CarraraError) -> int:
        """Tells of a failure and gives the exit code."""
        code = exit_of(error)
        if self.as_json:
            document = {"error": {"kind": error.kind, "code": error.code, "message": error.message, **_issues(error)}}
            sys.stdout.write(json.dumps(plain(document), indent=2, ensure_ascii=False) + "\n")
            return code
        self.err.print(f"[bold red]{error.code.replace('_', ' ')}[/]: {shown(error.message)}")
        if isinstance(error, Invalid):
            for issue in error.issues:
                self.err.print(f"  [bold]{shown(issue.where)}[/]: {shown(issue.message)}")
        return code


def plain(value: Any) -> Any:
    """`value` as JSON data."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return to_jsonable_python(value)


def cell(value: Any) -> str:
    """One value for a person: escaped, times to the second, nothing for None."""
    match value:
        case None:
            return "[dim]-[/]"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case datetime():
            return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        case _ if str(value) in MARKS:
            return MARKS[str(value)]
        case _:
            return shown(str(value))


def clean(text: str) -> str:
    """Text from others, without what steers a terminal: control characters but newline and tab become U+FFFD."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def shown(text: str) -> str:
    """Text from others inside a sentence of ours: clean, and with no markup of its own."""
    return escape(clean(text))


def short(digest: str | None) -> str | None:
    """The beginning of a digest, enough to tell two apart."""
    return digest.removeprefix("sha256:")[:12] if digest else None


def _issues(error: CarraraError) -> dict[str, Any]:
    if not isinstance(error, Invalid) or not error.issues:
        return {}
    return {"issues": [{"where": i.where, "message": i.message, "code": i.code} for i in error.issues]}


terminal = Terminal()
