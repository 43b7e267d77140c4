"""The command `carrara`. Each command's module is imported only when the command is used, so that all start fast.

To add one: a row in `COMMANDS` (a command of the `app` in that module, at the top level) or in `GROUPS` (a whole
`typer.Typer`, as `module:attribute`, that becomes `carrara <group> <command>`).
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
        where = COMMANDS.get(cmd_name) or GROUPS.get(cmd_name)
        if where is None:
            return None
        module, _, attribute = where.partition(":")
        found: Any = typer.main.get_command(getattr(importlib.import_module(module), attribute or "app"))
        # an app with one command only is that command itself
        return found.get_command(ctx, cmd_name) if cmd_name in COMMANDS and hasattr(found, "get_command") else found


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
