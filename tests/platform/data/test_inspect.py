"""What `mimlab data` tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mimlab.cli.data import app
from mimlab.data.builtin import built_in
from mimlab.data.inspection import Inspection, inspect
from mimlab.errors import UserError


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    return built_in("digits", tmp_path)


def test_counts_add_up(digits: Path) -> None:
    found = inspect(digits)
    assert found.images == 1797 == sum(split.rows for split in found.splits)
    for split in found.splits:
        assert sum(split.classes.values()) + split.unlabelled == split.rows
    assert found.bytes == sum(path.stat().st_size for path in digits.glob("*.parquet"))
    assert (found.width.min, found.width.median, found.width.max) == (8, 8, 8)
    assert not found.verified
    assert inspect(digits, verify=True).verified


def test_a_class_name_that_is_gone_is_noticed(digits: Path) -> None:
    content = json.loads((digits / "manifest.json").read_text())
    content["classes"].pop()
    (digits / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="a label without a name"):
        inspect(digits)


def test_the_table_shows_splits_and_classes(digits: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(digits), "--verify"])
    assert result.exit_code == 0, result.output
    assert inspect(digits).fingerprint in "".join(result.output.split())
    for shown in ("1,797", "train", "test", "(verified)", "row groups", "rejected"):
        assert shown in result.output


def test_json_is_the_whole_inspection(digits: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(digits), "--json"])
    assert Inspection.model_validate_json(result.stdout) == inspect(digits)


@pytest.mark.parametrize("command", ["import", "inspect"])
def test_help_has_an_example(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert f"mimlab data {command} " in " ".join(result.output.split())
