"""The code that a submission packs: whatever decides what its trials do."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import mimlab_objectives
from mimlab.search.fingerprint import code_zip, fingerprint


def test_modules_and_recipes_are_packed_and_equal_code_is_equal_bytes() -> None:
    code = code_zip()
    names = zipfile.ZipFile(io.BytesIO(code)).namelist()
    recipes = Path(mimlab_objectives.__file__).parent.glob("recipes/*.yaml")
    wanted = {f"mimlab_objectives/recipes/{file.name}" for file in recipes}
    assert wanted and wanted <= set(names)
    assert {"mimlab/py.typed", "mimlab/spec/recipes.py"} <= set(names)
    assert fingerprint(code_zip()) == fingerprint(code)
