"""`carrara data ...`: tables in, snapshots out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from carrara.cli import session
from carrara.cli.session import command
from carrara.cli.terminal import short, terminal

data = typer.Typer(help="Datasets and their snapshots.", no_args_is_help=True)

DatasetName = Annotated[str, typer.Argument(help="The dataset's name.")]
Table = Annotated[Path, typer.Argument(help="A CSV (also gzip, zstd) or Parquet file.", exists=True, dir_okay=False)]


@command(data, "push")
def push(
    dataset: DatasetName,
    table: Table,
    time_column: Annotated[str | None, typer.Option(help="The column that tells when a row happened.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Of a CSV; a comma if not given.")] = None,
    types: Annotated[list[str] | None, typer.Option("--type", help="COLUMN=TYPE, for a CSV; repeatable.")] = None,
) -> None:
    """Upload a table as an immutable snapshot. The same table twice is the same snapshot."""
    options: dict[str, Any] = {"time_column": time_column, "delimiter": delimiter}
    if types:
        options["types"] = dict(_pair(text) for text in types)
    with terminal.progress() as bar:
        task = bar.add_task(f"pushing {table.name}", total=1.0)
        pushed = session.project().datasets.push(
            dataset,
            table,
            on_progress=lambda done: bar.update(task, completed=done),
            **{key: value for key, value in options.items() if value is not None},
        )
    snapshot = pushed.snapshot
    known = "" if pushed.is_new else " (it was there already)"
    terminal.say(
        f"[bold]{dataset}[/] snapshot {snapshot.number}{known}: {snapshot.row_count:,} rows, "
        f"{len(snapshot.columns)} columns, {snapshot.digest}"
    )
    terminal.answer(pushed)


@command(data, "list")
def list_datasets() -> None:
    """Datasets, by name."""
    found = list(session.project().datasets.all())
    rows = [(d.name, d.latest_snapshot, d.created_by, d.created_at) for d in found]
    terminal.table(["dataset", "newest snapshot", "by", "since"], rows, empty="none yet: `carrara data push NAME FILE`")
    terminal.answer(found)


@command(data, "snapshots")
def list_snapshots(dataset: DatasetName) -> None:
    """Snapshots of a dataset, newest first."""
    found = list(session.project().datasets.snapshots(dataset))
    rows = [
        (s.number, s.row_count, short(s.digest), s.time_from, s.time_until, s.created_by, s.created_at) for s in found
    ]
    terminal.table(["snapshot", "rows", "digest", "from", "until", "by", "pushed"], rows, empty="none")
    terminal.answer(found)


@command(data, "show")
def show(
    dataset: DatasetName,
    snapshot: Annotated[str | None, typer.Argument(help="Number or digest; the newest if not given.")] = None,
) -> None:
    """The columns of a snapshot: types, ranges, missing values."""
    client = session.project().datasets
    wanted = snapshot or str(client.get(dataset).latest_snapshot)
    found, profile = client.snapshot(dataset, wanted), client.profile(dataset, wanted)
    terminal.say(f"[bold]{dataset}[/] snapshot {found.number}: {found.row_count:,} rows, {found.digest}")
    rows = [
        (c.name, c.type, c.nulls, c.distinct, c.minimum, c.maximum, c.mean, _frequent(c.top)) for c in profile.columns
    ]
    columns = ["column", "type", "nulls", "distinct", "minimum", "maximum", "mean", "most frequent"]
    terminal.table(columns, rows, empty="no columns")
    terminal.answer({"snapshot": found, "profile": profile})


def _pair(text: str) -> tuple[str, str]:
    column, separator, kind = text.rpartition("=")
    if not separator or not column:
        raise typer.BadParameter(f"{text!r}: expected COLUMN=TYPE, such as tailnum=text")
    return column, kind


def _frequent(top: Any) -> str | None:
    return ", ".join(f"{each.value} ({each.count:,})" for each in top[:3]) if top else None
