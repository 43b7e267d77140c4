"""`carrara login | whoami | project | user | member | token`: who may do what."""

import json
import os
from typing import Annotated
from uuid import UUID

import typer
from pydantic import TypeAdapter

from carrara.cli import session
from carrara.cli.session import command
from carrara.cli.terminal import terminal
from carrara.contracts.access import RoleName
from carrara.sdk.connection import home_file
from carrara.sdk.files import write_private

ROLE_NAMES: TypeAdapter[list[RoleName]] = TypeAdapter(list[RoleName])

app = typer.Typer()
projects = typer.Typer(help="Projects: everything belongs to one.", no_args_is_help=True)
users = typer.Typer(help="People and service accounts.", no_args_is_help=True)
members = typer.Typer(help="Who has which roles in a project.", no_args_is_help=True)
tokens = typer.Typer(help="API tokens.", no_args_is_help=True)


@command(app)
def login() -> None:
    """Keep --url and --token for the next commands, readable by you only."""
    client = session.connect()
    me = client.whoami()
    path = home_file(os.environ)
    document = {
        "url": client.connection.url,
        "token": client.connection.token,
        "serving_url": client.connection.serving_url,
    }
    write_private(path, json.dumps(document))
    terminal.say(f"[bold]{me.name}[/] at {client.connection.url}, kept in {path}")
    terminal.answer({"user": me, "file": str(path)})


@command(app)
def whoami() -> None:
    """Whose token this is, and where it was found."""
    client = session.connect()
    me = client.whoami()
    terminal.say(f"[bold]{me.name}[/] ({me.kind}) at {client.connection.url}, from {client.connection.source}")
    terminal.answer(me)


@command(projects, "create")
def create_project(
    name: str,
    tier: Annotated[int, typer.Option(min=1, max=4, help="1 is the most critical, 4 a sandbox.")] = 3,
    description: str = "",
    allow_pickle: Annotated[bool, typer.Option(help="Accept pickled models; they only ever load confined.")] = False,
) -> None:
    """Make a project; you become its admin. Names are never reused."""
    made = session.connect().create_project(name, tier=tier, description=description, allows_pickle=allow_pickle)
    terminal.say(f"project [bold]{made.name}[/], tier {made.tier}; give roles with `carrara member set USER ROLE...`")
    terminal.answer(made)


@command(projects, "list")
def list_projects() -> None:
    """Your projects, and your roles in them."""
    found = session.connect().projects()
    rows = [(p.name, p.tier, ", ".join(p.roles) or None, p.description) for p in found]
    terminal.table(["project", "tier", "your roles", "description"], rows, empty="none: `carrara project create NAME`")
    terminal.answer(found)


@command(users, "create")
def create_user(
    name: str,
    service: Annotated[bool, typer.Option("--service", help="A machine, not a person; it can never approve.")] = False,
    admin: Annotated[bool, typer.Option("--admin", help="Makes projects and people.")] = False,
) -> None:
    """Make a person or a service account. Give them a token with `carrara token create --user NAME`."""
    made = session.connect().create_user(name, kind="service" if service else "person", is_platform_admin=admin)
    terminal.say(f"{made.kind} [bold]{made.name}[/]")
    terminal.answer(made)


@command(members, "set")
def set_roles(
    user: str,
    roles: Annotated[list[str] | None, typer.Argument(help="viewer, data_scientist, approver, admin")] = None,
) -> None:
    """Give USER exactly these roles in the project; none takes the user out."""
    member = session.project().set_roles(user, ROLE_NAMES.validate_python(roles or []))
    terminal.say(f"[bold]{member.user}[/]: {', '.join(member.roles) or 'no role any more'}")
    terminal.answer(member)


@command(members, "list")
def list_members() -> None:
    """Everyone with a role in the project."""
    found = session.project().members()
    terminal.table(["user", "roles"], [(m.user, ", ".join(m.roles)) for m in found], empty="nobody")
    terminal.answer(found)


@command(tokens, "create")
def create_token(
    name: Annotated[str, typer.Argument(help="What it is for.")] = "cli",
    user: Annotated[str | None, typer.Option(help="Another user; for platform admins.")] = None,
    days: Annotated[int, typer.Option(min=1, max=90)] = 90,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the secret and nothing else.")] = False,
) -> None:
    """Make a token. Its secret is shown once."""
    made = session.connect().issue_token(name, user=user, days=days)
    if quiet:
        typer.echo(made.secret)
        return
    terminal.say(f"{made.secret}\n[dim]shown once; valid {made.expires_in_days} days; id {made.id}[/]")
    terminal.answer(made)


@command(tokens, "list")
def list_tokens() -> None:
    """Your tokens, without their secrets."""
    found = session.connect().tokens()
    rows = [(t.id, t.name, t.prefix, t.expires_at, t.last_used_at, t.revoked_at) for t in found]
    terminal.table(["id", "name", "begins with", "expires", "last used", "revoked"], rows, empty="none")
    terminal.answer(list(found))


@command(tokens, "revoke")
def revoke_token(token_id: UUID) -> None:
    """End a token at once."""
    session.connect().revoke_token(token_id)
    terminal.say("revoked")
    terminal.answer({"id": token_id, "revoked": True})
