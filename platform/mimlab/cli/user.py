"""`mimlab user`: who may do what by the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from mimlab.cli.options import RUNS, Storage
from mimlab.serve.identity.permissions import ROLES, Role, table

if TYPE_CHECKING:
    from mimlab.serve.identity.users import Users

app = typer.Typer(
    help="Users of the dashboard: their roles, and their tokens.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="The user's name.")]
ROLE_HELP = f"One of {', '.join(ROLES)}; `mimlab user roles` says who may do what."


@app.command()
def add(
    name: Name,
    role: Annotated[Role, typer.Option(help=ROLE_HELP)] = "viewer",
    storage: Storage = RUNS,
) -> None:
    """Make a user, and print the token: once, for only a hash of it is kept.

    Example: mimlab user add ada --role submitter
    """
    token = _users(storage).add(name, role)
    _note(storage, "add user", name, role)
    _show(name, token)


@app.command("list")
def list_users(storage: Storage = RUNS) -> None:
    """Show all users."""
    users = _users(storage).all()
    shown = Table("user", "role", "since", "state")
    for user in users:
        shown.add_row(user.name, user.role, user.created, "revoked" if user.revoked else "")
    console = Console()
    console.print(shown if users else "no users yet: mimlab user add NAME --role submitter")


@app.command()
def role(
    name: Name,
    new: Annotated[Role, typer.Argument(metavar="ROLE", help=ROLE_HELP)],
    storage: Storage = RUNS,
) -> None:
    """Give a user another role, from the next request on."""
    _users(storage).set_role(name, new)
    _note(storage, "change role", name, new)
    typer.echo(f"{name} is a {new}")


@app.command()
def token(name: Name, storage: Storage = RUNS) -> None:
    """Print a new token of a user; the old one, and all sessions, end."""
    new = _users(storage).renew(name)
    _note(storage, "renew token", name)
    _show(name, new)


@app.command()
def revoke(name: Name, storage: Storage = RUNS) -> None:
    """Make a user's token and all sessions worthless."""
    _users(storage).revoke(name)
    _note(storage, "revoke", name)
    typer.echo(f"{name} is locked out; `mimlab user token {name}` lets them in again")


@app.command()
def roles() -> None:
    """Show what each role may do: to nobody's runs, one's own, or all."""
    typer.echo(table())


def _users(storage: str) -> Users:
    from mimlab.serve.identity.users import Users
    from mimlab.storage.store import Store

    return Users(Store(storage))


def _note(storage: str, what: str, name: str, role: Role | None = None) -> None:
    from mimlab.actions import audit
    from mimlab.storage.store import Store
    from mimlab.user import this_user

    audit.record(Store(storage), this_user(), what, name, {} if role is None else {"role": role})


def _show(name: str, token: str) -> None:
    typer.echo(token)
    typer.echo(f"the token of {name}; it is not shown again. export MIMLAB_TOKEN=…", err=True)
