"""The tables of docs/methods.md, from the registries: `python -m mimlab.spec.methods_page FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from mimlab.spec.catalogue import OWN_PACKAGE, catalogue, catalogue_of_recipes

BEGIN = "<!-- made from the registries: make methods -->"
END = "<!-- end of what is made from the registries -->"


def tables() -> str:
    """A Markdown table of the recipes and of each kind of part, without those of plug-ins."""
    found = [_recipes()]
    for kind, parts in catalogue().items():
        rows = [
            f"| `{part.name}` | {part.summary} | {'; '.join(part.needs)} | {part.paper} |"
            for part in parts
            if part.package == OWN_PACKAGE
        ]
        head = [f"### {kind.capitalize()}", "", "| name | what it is | needs | paper |"]
        found.append("\n".join([*head, "| --- | --- | --- | --- |", *rows]))
    return "\n\n".join(found)


def _recipes() -> str:
    rows = [
        f"| `{recipe.name}` | {recipe.combines} | {' '.join(recipe.notes)} | {recipe.paper} |"
        for recipe in catalogue_of_recipes()
        if recipe.package == OWN_PACKAGE
    ]
    head = ["### Recipes", "", "| name | combines | beside the paper | paper |"]
    return "\n".join([*head, "| --- | --- | --- | --- |", *rows])


def rewritten(page: str) -> str:
    """A page with its tables as they are now. Raises ValueError if it has no place for them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(rewritten(file.read_text()))
