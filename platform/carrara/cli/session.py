"""What every command that talks to a platform shares: `--json`, `--project`, `--url`, `--token`, and the client."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from carrara.cli.terminal import terminal
from carrara.kernel.errors import CarraraError, Invalid
from carrara.sdk.client import Carrara
from carrara.sdk.project import ProjectClient

_PANEL = "Platform"
_SHARED: dict[str, Any] = {
    "project_name": Annotated[
        str | None,
        typer.Option("--project", "-p", help="The project; else CARRARA_PROJECT.", rich_help_panel=_PANEL),
    ],
    "as_json": Annotated[bool, typer.Option("--json", help="Print one JSON document.", rich_help_panel=_PANEL)],
    "platform_url": Annotated[
        str | None, typer.Option("--url", help="The platform; else CARRARA_URL.", rich_help_panel=_PANEL)
    ],
    "api_token": Annotated[
        str | None,
        typer.Option("--token", help="An API token; CARRARA_TOKEN is safer.", rich_help_panel=_PANEL),
    ],
}


@dataclass
class _Chosen:
    project: str | None = None
    url: str | None = None
    token: str | None = None


_chosen = _Chosen()
Body = Callable[..., None]


def command(app: typer.Typer, name: str | None = None) -> Callable[[Body], Body]:
    """Registers a command with the options that all share. A failure becomes sentences and a documented exit code."""

    def register(body: Body) -> Body:
        @functools.wraps(body)
        def run(**options: Any) -> None:
            _chosen.project = options.pop("project_name")
            _chosen.url = options.pop("platform_url")
            _chosen.token = options.pop("api_token")
            terminal.as_json = options.pop("as_json")
            try:
                body(**options)
            except CarraraError as error:
                raise typer.Exit(terminal.fault(error)) from error

        own = inspect.signature(body, eval_str=True).parameters.values()
        shared = [
            inspect.Parameter(
                key, inspect.Parameter.KEYWORD_ONLY, annotation=hint, default=False if key == "as_json" else None
            )
            for key, hint in _SHARED.items()
        ]
        keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        run.__dict__["__signature__"] = inspect.Signature([*keywords, *shared])
        run.__annotations__ = {p.name: p.annotation for p in (*keywords, *shared)}
        app.command(name)(run)
        return body

    return register


def connect() -> Carrara:
    """The platform that the options, the environment or the working directory name."""
    return Carrara.connect(url=_chosen.url, token=_chosen.token)


def project() -> ProjectClient:
    """The chosen project; if none is named and the caller has exactly one, that one."""
    client = connect()
    name = _chosen.project or client.connection.project
    if name is None:
        names = [found.name for found in client.projects()]
        if len(names) != 1:
            known = f"yours are {', '.join(names)}" if names else "you have none yet: `carrara project create NAME`"
            raise Invalid(f"which project? Pass --project or set CARRARA_PROJECT; {known}", code="no_project")
        name = names[0]
    return client.project(name)
