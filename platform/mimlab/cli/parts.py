"""`mimlab list`: what a study file can name, and what goes with what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from string import ascii_lowercase
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from mimlab.cli.options import Json
from mimlab.cli.recipes import recipe_table
from mimlab.errors import UserError

if TYPE_CHECKING:
    from mimlab.spec.catalogue import CataloguePart
    from mimlab.spec.matrix import Matrix

GOES = "●"
Costs = Mapping[str, Mapping[str, float | None]]
"""Kind → name → FLOPs of a step beside those of MAE."""


class Kind(StrEnum):
    """Kinds of registered parts, and recipes."""

    maskings = "maskings"
    objectives = "objectives"
    targets = "targets"
    schedules = "schedules"
    recipes = "recipes"
    tokenizers = "tokenizers"


def list_parts(
    kind: Annotated[Kind | None, typer.Argument(help="One kind only.")] = None,
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Which combine, and why the others do not.")
    ] = False,
    cost: Annotated[
        bool,
        typer.Option(
            "--cost",
            help="Count the arithmetic of a step beside MAE's at ViT-B/16, 224 px, 75 % hidden; "
            "about a second for each objective and target.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """List maskings, objectives, targets, ratio schedules, tokenizers – parameters, needs, papers –
    and recipes, papers that combine them: what differs from the paper.

    Those of installed plug-ins are among them, with the name of their package.

    Example: mimlab list objectives --cost
    """
    if matrix and (kind is not None or cost):
        raise UserError("--matrix shows all kinds and no cost; give it alone or with --json")
    if matrix:
        _show_matrices(as_json)
    else:
        _show_parts(kind, cost=cost, as_json=as_json)


def _show_parts(kind: Kind | None, *, cost: bool, as_json: bool) -> None:
    # torch takes seconds to import
    from mimlab.spec.catalogue import catalogue, catalogue_of_recipes

    found = {n: parts for n, parts in catalogue().items() if kind is None or n == kind.value}
    recipes = catalogue_of_recipes() if kind in (None, Kind.recipes) else []
    costs = _costs(found) if cost else {}
    if as_json:
        listed = _with_costs(found, costs)
        if recipes:
            listed[Kind.recipes.value] = [recipe.model_dump() for recipe in recipes]
        typer.echo(json.dumps(listed, indent=1))
        return
    console = Console()
    for name, parts in found.items():
        console.print(_table(name, parts, costs.get(name)))
    if recipes:
        console.print(recipe_table(recipes))
    if costs:
        console.print(
            "cost: FLOPs of a step beside those of MAE on pixels, at ViT-B/16, 224 px, 75 % "
            "hidden; of a target under MAE, or the first objective that predicts it; – where they "
            "cannot be counted without values",
            highlight=False,
        )


def _costs(found: Mapping[str, list[CataloguePart]]) -> Costs:
    from mimlab.train.relative_cost import relative_cost, target_cost

    counts = {Kind.objectives.value: relative_cost, Kind.targets.value: target_cost}
    with Console(stderr=True).status("counting"):
        return {
            kind: {part.name: count(part.name) for part in found[kind]}
            for kind, count in counts.items()
            if kind in found
        }


def _with_costs(found: Mapping[str, list[CataloguePart]], costs: Costs) -> dict[str, list[dict]]:
    return {
        kind: [
            part.model_dump() | ({"cost": costs[kind][part.name]} if kind in costs else {})
            for part in parts
        ]
        for kind, parts in found.items()
    }


def _table(
    name: str, parts: list[CataloguePart], costs: Mapping[str, float | None] | None
) -> Table:
    from mimlab.spec.catalogue import OWN_PACKAGE

    table = Table(title=name, title_justify="left", show_lines=True)
    for column in ("name", "what it is", "parameters", "needs"):
        table.add_column(column)
    if costs is not None:
        table.add_column("cost", justify="right")
    table.add_column("paper")
    for part in parts:
        parameters = "\n".join(f"{p.name} = {p.default}" for p in part.parameters)
        own = part.package == OWN_PACKAGE
        name_shown = part.name if own else f"{part.name}\n(of {part.package})"
        cells = [name_shown, part.summary, parameters, "\n".join(part.needs)]
        if costs is not None:
            found = costs[part.name]
            cells.append("–" if found is None else f"{found:.2f} ×")
        table.add_row(*cells, part.paper)
    return table


def _show_matrices(as_json: bool) -> None:
    from mimlab.spec.matrix import matrices  # torch takes seconds to import

    found = matrices()
    if as_json:
        typer.echo(json.dumps({matrix.kind: matrix.reasons for matrix in found}, indent=1))
        return
    console = Console()
    letters: dict[str, str] = {}
    for matrix in found:
        console.print(_matrix(matrix, letters))
        console.print()
    console.print(f"{GOES} goes together", highlight=False)
    for reason, letter in letters.items():
        console.print(f"{letter} it {reason}", highlight=False)


def _matrix(matrix: Matrix, letters: dict[str, str]) -> Table:
    """A row for each part; objectives stand upright above their columns, because they are many."""
    table = Table(
        title=f"{matrix.kind} × objectives", title_justify="left", box=None, padding=(0, 1, 0, 0)
    )
    table.add_column(matrix.kind, vertical="bottom", no_wrap=True)
    for objective in matrix.objectives:
        table.add_column("\n".join(objective), vertical="bottom", min_width=1)
    for part in matrix.parts:
        reasons = (matrix.reasons[part][objective] for objective in matrix.objectives)
        table.add_row(part, *(GOES if r is None else _letter(r, letters) for r in reasons))
    return table


def _letter(reason: str, letters: dict[str, str]) -> str:
    return letters.setdefault(reason, ascii_lowercase[len(letters)])
