"""`carrara predict`: one request to an endpoint, as a serving client makes it."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from carrara.cli import session
from carrara.cli.endpoints import EndpointName
from carrara.cli.session import command
from carrara.cli.terminal import short, terminal
from carrara.kernel.errors import Invalid

app = typer.Typer()


@command(app)
def predict(
    endpoint: EndpointName,
    rows: Annotated[
        Path | None,
        typer.Option("--rows", help="A JSON file: one row, or a list of them; - for standard input.", allow_dash=True),
    ] = None,
) -> None:
    """Ask an endpoint. Without --rows: the example row of its contract."""
    client = session.project().predictions
    instances = _read(rows) if rows is not None else [_example(client.describe(endpoint))]
    answer = client.predict(endpoint, instances)
    if answer.get("fallback"):
        terminal.note("[yellow]no release is live: this is the declared fallback[/]")
    else:
        terminal.note(f"[dim]{answer['model']} {answer['version']}, release {short(answer['release'])}[/]")
    shown = [
        (number, found.get("prediction"), _probabilities(found)) for number, found in enumerate(answer["predictions"])
    ]
    terminal.table(["row", "prediction", "probabilities"], shown, empty="no rows")
    terminal.answer(answer)


def _read(path: Path) -> list[dict[str, Any]]:
    text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    try:
        document = json.loads(text)
    except ValueError as error:
        raise Invalid(f"{path}: {error}", code="malformed_file") from error
    found = document if isinstance(document, list) else [document]
    if not all(isinstance(row, dict) for row in found):
        raise Invalid(f"{path}: expected an object with a value for each column, or a list of such", code="bad_rows")
    return found


def _example(description: dict[str, Any]) -> dict[str, Any]:
    example = (description.get("contract") or {}).get("example")
    if not example:
        raise Invalid("this endpoint has no example row; pass --rows FILE", code="no_example")
    return dict(example)


def _probabilities(found: dict[str, Any]) -> str | None:
    given = found.get("probabilities")
    return ", ".join(f"{label}: {value:.4f}" for label, value in given.items()) if given else None
