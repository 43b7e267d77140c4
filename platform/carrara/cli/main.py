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
    "login": "carrara.cli.people",
    "whoami": "carrara.cli.people",
    "train": "carrara.cli.jobs",
    "evaluate": "carrara.cli.gates",
    "approve": "carrara.cli.endpoints",
    "reject": "carrara.cli.endpoints",
    "promote": "carrara.cli.endpoints",
    "rollback": "carrara.cli.endpoints",
    "history": "carrara.cli.endpoints",
    "predict": "carrara.cli.predict",
    "platform": "carrara.cli.run_process",
    "controller": "carrara.cli.run_process",
    "worker": "carrara.cli.run_process",
    "serving": "carrara.cli.run_process",
    "migrate": "carrara.cli.run_process",
}
GROUPS: dict[str, str] = {
    "project": "carrara.cli.people:projects",
    "user": "carrara.cli.people:users",
    "member": "carrara.cli.people:members",
    "token": "carrara.cli.people:tokens",
    "data": "carrara.cli.data:data",
    "job": "carrara.cli.jobs:jobs",
    "model": "carrara.cli.models:models",
    "version": "carrara.cli.models:versions",
    "gates": "carrara.cli.gates:gates",
    "endpoint": "carrara.cli.endpoints:endpoints",
    "audit": "carrara.cli.audit:audit",
}


class LazyGroup(TyperGroup):
    """Finds a command by importing the one module that has it."""

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return [*COMMANDS, *GROUPS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in COMMANDS:
            commands = typer.main.get_group(importlib.import_module(COMMANDS[cmd_name]).app)
            return commands.get_command(ctx, cmd_name)
        if cmd_name in GROUPS:
            module, _, attribute = GROUPS[cmd_name].partition(":")
            group = typer.main.get_group(getattr(importlib.import_module(module), attribute))
            group.name = cmd_name
            return group
        return None


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
