"""`mimlab list`: what a study file can name."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from mimlab.cli.options import Json

OWN_PACKAGE = "mimlab_objectives"


class Kind(StrEnum):
    """Kinds of registered parts."""

    maskings = "maskings"
    objectives = "objectives"
    targets = "targets"


def list_parts(
    kind: Annotated[Kind | None, typer.Argument(help="One kind only.")] = None,
    as_json: Json = False,
) -> None:
    """List the maskings, objectives and targets, their parameters and papers.

    Those of installed plug-ins are among them, with the name of their package.

    Example: mimlab list maskings
    """
    from mimlab.spec.catalogue import catalogue  # torch takes seconds to import

    found = {
        name: parts for name, parts in catalogue().items() if kind is None or name == kind.value
    }
    if as_json:
        typer.echo(json.dumps({k: [p.model_dump() for p in v] for k, v in found.items()}, indent=1))
        return
    console = Console()
    for name, parts in found.items():
        table = Table(title=name, title_justify="left", show_lines=True)
        for column in ("name", "what it is", "parameters", "paper"):
            table.add_column(column)
        for part in parts:
            parameters = "\n".join(f"{p.name} = {p.default}" for p in part.parameters)
            own = part.package == OWN_PACKAGE
            name_shown = part.name if own else f"{part.name}\n(of {part.package})"
            table.add_row(name_shown, part.summary, parameters, part.paper)
        console.print(table)
