"""The command `carrara`. Each command's module is imported only when the command is used, so that all start fast.

To add one: a module with a `typer.Typer()` named `app`, and a row in `COMMANDS` (a command of that app, at the top
level) or in `GROUPS` (the whole app, as `carrara <group> <command>`).
"""

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from carrara.cli.exits import exit_of
from carrara.kernel.errors import CarraraError

COMMANDS = {
    "up": "carrara.cli.stack",
    "down": "carrara.cli.stack",
    "status": "carrara.cli.stack",
    "doctor": "carrara.cli.stack",
    "platform": "carrara.cli.run_process",
    "controller": "carrara.cli.run_process",
    "worker": "carrara.cli.run_process",
    "serving": "carrara.cli.run_process",
    "migrate": "carrara.cli.run_process",
}
GROUPS: dict[str, str] = {}


class LazyGroup(TyperGroup):
    """Finds a command by importing the one module that has it."""

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return [*GROUPS, *COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        module = COMMANDS.get(cmd_name) or GROUPS.get(cmd_name)
        if module is None:
            return None
        found = typer.main.get_command(importlib.import_module(module).app)
        return found.get_command(ctx, cmd_name) if cmd_name in COMMANDS else found  # type: ignore[attr-defined]  # a group, since its module has several commands


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def carrara() -> None:
    """Train, evaluate, approve, promote, serve, watch and roll back models, on your own machines."""


def main() -> None:
    """What the console script calls. A `CarraraError` becomes one sentence on standard error and an exit code."""
    try:
        app()
    except CarraraError as error:
        sys.stderr.write(f"carrara: {error.message}\n")
        sys.exit(exit_of(error))


if __name__ == "__main__":
    main()
