"""mimlab's own recipes: the YAML files of this folder."""

from __future__ import annotations

import functools
from pathlib import Path

from mimlab_objectives.recipes.base import recipes


@functools.cache
def load_own_recipes() -> None:
    """Add them, once; the parts that they name must have been registered. Raises ValueError."""
    recipes.add_folder(Path(__file__).parent, __name__)
