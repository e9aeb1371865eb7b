"""The code that a submission packs: whatever decides what its trials do."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import mimlab
import mimlab_objectives
from mimlab.search.fingerprint import code_zip, fingerprint


def test_every_file_of_the_packages_is_packed_and_equal_code_is_equal_bytes() -> None:
    code = code_zip()
    names = zipfile.ZipFile(io.BytesIO(code)).namelist()
    roots = [Path(package.__path__[0]) for package in (mimlab, mimlab_objectives)]
    wanted = {
        path.relative_to(root.parent).as_posix()
        for root in roots
        for path in root.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert wanted == set(names)
    assert {"mimlab/py.typed", "mimlab/compare/report.css"} <= wanted
    assert "mimlab_objectives/recipes/dbot.yaml" in wanted
    assert fingerprint(code_zip()) == fingerprint(code)
