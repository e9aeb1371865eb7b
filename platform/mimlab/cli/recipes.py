"""Recipes as `mimlab list` shows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from mimlab.spec.catalogue import CatalogueRecipe


def recipe_table(recipes: Iterable[CatalogueRecipe]) -> Table:
    """A recipe a row; those of a plug-in say so."""
    from mimlab.spec.catalogue import OWN_PACKAGE  # torch takes seconds to import

    table = Table(title="recipes", title_justify="left", show_lines=True)
    for column in ("name", "what it is", "combines", "beside the paper", "paper"):
        table.add_column(column)
    for recipe in recipes:
        own = recipe.package == OWN_PACKAGE
        name = recipe.name if own else f"{recipe.name}\n(of {recipe.package})"
        notes = "\n".join(recipe.notes)
        table.add_row(name, recipe.summary, recipe.combines, notes, recipe.paper)
    return table
