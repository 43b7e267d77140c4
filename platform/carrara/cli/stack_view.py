"""How the start and the stop of the platform look: a live line for each process, plain lines, or JSON lines."""

import contextlib
import json
import time
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

Event = dict[str, Any]

_LOOKS = {
    "waiting": ("·", "dim"),
    "starting": ("…", "yellow"),
    "ready": ("✓", "green"),
    "running": ("✓", "green"),
    "done": ("✓", "green"),
    "backing_off": ("✗", "red"),
    "stopping": ("…", "yellow"),
    "stopped": ("·", "dim"),
}


class JsonLines:
    """One JSON object for each event."""

    def __init__(self, *streams: TextIO) -> None:
        self._streams = streams

    def show(self, event: Event) -> None:
        line = json.dumps({"at": round(time.time(), 3), **event}) + "\n"
        for stream in self._streams:
            with contextlib.suppress(OSError, ValueError):  # whoever read it has gone; the platform runs on
                stream.write(line)
                stream.flush()

    def say(self, text: str) -> None:
        """Nothing: it is all in the events."""
        del text

    def close(self) -> None:
        return


class PlainLines:
    """One line for each change: for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last: dict[str, str] = {}

    def show(self, event: Event) -> None:
        if event["event"] == "process":
            line = f"{event['state']}{': ' + event['detail'] if event['detail'] else ''}"
            if self._last.get(event["name"]) == line:
                return
            self._last[event["name"]] = line
            self._write(f"{event['name']:<11} {line}")
        elif event["event"] in ("note", "warning"):
            self._write(f"{event['event']:<11} {event['message']}")
        else:
            self._write(f"{'platform of process':<11} {event['pid']} is {event['event']}")

    def say(self, text: str) -> None:
        self._write(text)

    def close(self) -> None:
        return

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return


class LiveTable:
    """A table that is redrawn at every event. Without rich's own thread: the supervisor must have only one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = time.monotonic()
        self._rows: dict[str, Event] = {}
        self._took: dict[str, float] = {}
        self._footer = ""
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._live.start()

    def show(self, event: Event) -> None:
        if event["event"] == "process":
            name = event["name"]
            self._rows[name] = event
            if event["state"] in ("ready", "running", "done"):
                self._took.setdefault(name, time.monotonic() - self._begun)
            self._draw()
        elif event["event"] in ("note", "warning"):
            self._console.print(Text(event["message"], style="yellow"))
        elif event["event"] == "stopping":
            self.say("")

    def say(self, text: str) -> None:
        """Below the table, until there is something else to say."""
        self._footer = text
        self._draw()

    def close(self) -> None:
        self._live.stop()

    def _draw(self) -> None:
        self._live.update(Group(self._table(), Text(self._footer)), refresh=True)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, row in self._rows.items():
            mark, style = _LOOKS.get(row["state"], ("?", ""))
            took = f"{self._took[name]:.1f} s" if name in self._took else ""
            where = f"port {row['port']}" if row["port"] and row["state"] != "waiting" else ""
            what = Text(row["state"].replace("_", " "), style=style)
            table.add_row(Text(mark, style=style), name, what, took, where, Text(row["detail"], style="dim"))
        return table


def summary(urls: dict[str, str], data_dir: str, token_path: str, *, has_token: bool) -> str:
    """What to do next, once all is ready."""
    token = token_path if has_token else f"{token_path} (not there yet)"
    return f"""
  API            {urls["platform"]}
  predictions    {urls["serving"]}
  admin token    {token}
  data and logs  {data_dir}
"""


View = JsonLines | PlainLines | LiveTable
