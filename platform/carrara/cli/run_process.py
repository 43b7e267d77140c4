"""One process each, for production: systemd, compose and Kubernetes start these; `carrara up` starts all of them."""

import importlib
import sys

import typer
from pydantic import ValidationError

from carrara.cli.exits import Exit
from carrara.kernel.config import Settings

app = typer.Typer()

MAIN = {
    "platform": "carrara.api.main",
    "controller": "carrara.bootstrap.controller",
    "worker": "carrara.bootstrap.worker",
    "serving": "carrara.serving.parent",
    "migrate": "carrara.bootstrap.migrate",
}


def run(name: str) -> None:
    """Calls `main(settings)` of the process's module, with settings from the environment."""
    try:
        settings = Settings()
    except ValidationError as error:
        for fault in error.errors(include_input=False, include_url=False):
            variable = "CARRARA_" + "_".join(str(part) for part in fault["loc"]).upper()
            sys.stderr.write(f"carrara: {variable}: {fault['msg']}\n")
        raise typer.Exit(Exit.USAGE) from None
    try:
        importlib.import_module(MAIN[name]).main(settings)
    except ValueError as error:  # Settings.required names the variable that is missing
        if "CARRARA_" not in str(error):
            raise
        sys.stderr.write(f"carrara: {error}\n")
        raise typer.Exit(Exit.USAGE) from None


@app.command()
def platform() -> None:
    """Run the API, the web pages and the way to MLflow."""
    run("platform")


@app.command()
def controller() -> None:
    """Run rollouts, leases, schedules, the outbox and the audit seal. Several may run; one leads."""
    run("controller")


@app.command()
def worker() -> None:
    """Run jobs."""
    run("worker")


@app.command()
def serving() -> None:
    """Answer predictions."""
    run("serving")


@app.command()
def migrate() -> None:
    """Bring the database to the schema of this version, then end."""
    run("migrate")
