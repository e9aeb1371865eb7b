"""`mimlab data import`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mimlab.cli.data import app
from mimlab.data.inspection import Inspection
from mimlab.errors import UserError


def test_import_at_the_command_line(
    ray_local: None, tmp_path: Path, class_folders: Callable
) -> None:
    class_folders(tmp_path / "in" / "a", ["ant", "bee"], 5)
    class_folders(tmp_path / "in" / "b", ["ant"], 3, first=10)
    out = tmp_path / "out"
    options = ["--split", "train=a", "--split", "test=b", "--seed", "4", "--json"]
    command = ["import", str(tmp_path / "in"), "--to", str(out), *options]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    found = Inspection.model_validate_json(result.stdout)
    assert [(split.name, split.rows) for split in found.splits] == [("train", 10), ("test", 3)]
    assert found.seed == 4
    assert found.splits[1].classes == {"ant": 3, "bee": 0}


@pytest.mark.parametrize("split", ["train", "=x", "train=", "a b=x"])
def test_a_split_that_names_nothing_is_explained(tmp_path: Path, split: str) -> None:
    command = ["import", str(tmp_path), "--to", str(tmp_path / "out"), "--split", split]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, UserError)
    assert "expected NAME=PATTERN" in str(result.exception)
