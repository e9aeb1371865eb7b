"""`up` and `down`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mimlab.errors import UserError
from mimlab.exits import FAILED, REFUSED
from one_machine.lab import Lab
from one_machine.ports import ports_of
from one_machine.record import Record
from one_machine.settings import Settings, default_folder

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)

Folder = Annotated[
    Path | None,
    typer.Option(help="Databases, artifacts, logs and secrets; ~/.mimlab, as root /var/lib/mimlab"),
]


@app.command()
def up(
    folder: Folder = None,
    storage: Annotated[
        str | None, typer.Option(help="Results; `runs` in the folder unless said.")
    ] = None,
    secure: Annotated[
        bool, typer.Option("--secure", help="MLflow and the dashboard ask who is there.")
    ] = False,
    root: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR|URI", help="Images that the dashboard's studies may name; repeatable."
        ),
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Ray nodes besides the head.")] = 2,
    cpus: Annotated[int | None, typer.Option(min=1, help="Logical CPUs of each node.")] = None,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs, shared out over the nodes.")] = 0,
    port: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PORT", help="ray, jobs, mlflow or dashboard; repeatable."),
    ] = None,
) -> None:
    """Start Ray with nodes, MLflow on PostgreSQL and the dashboard; say where each is."""
    place = (folder or default_folder()).absolute()
    settings = Settings(
        folder=place,
        storage=storage or str(place / "runs"),
        ports=ports_of(port or []),
        nodes=nodes,
        gpus=gpus,
        roots=tuple(root or ()),
        secure=secure,
        **({} if cpus is None else {"cpus": cpus}),
    )
    lab = Lab(settings, typer.echo)
    before = Record.read(place)
    if before is None:
        lab.up()
        return
    dead = [process.name for process in before.processes if not process.alive]
    if dead:
        raise UserError(f"{', '.join(dead)} of {place} has ended; call `down`, then `up`")
    typer.echo("it is up already:")
    Lab(before.settings, typer.echo).say_where()


@app.command()
def down(folder: Folder = None) -> None:
    """End everything that `up` has started. Results, databases and secrets stay."""
    place = (folder or default_folder()).absolute()
    record = Record.read(place)
    if record is None:
        typer.echo(f"nothing runs in {place}")
        return
    ran = record.stop()
    typer.echo(f"ended: {', '.join(ran) or 'nothing was left of it'}")


def main() -> None:
    """Bad input gets one line and exit code 2, a service that does not start exit code 1."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(REFUSED)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
