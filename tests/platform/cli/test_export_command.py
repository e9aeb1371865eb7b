"""`mimlab export` as its user calls it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def trial(exported: Callable) -> str:
    """The id of a trial with two exports, in the storage `results`."""
    return exported([9, 24]).trial.id


def test_it_says_what_it_wrote(call, folder: Path, trial: str) -> None:
    said = call("export", trial, "--to", "out", "--storage", "results")
    assert said.code == 0 and said.err == ""
    assert said.out.startswith(f"{folder}/out: the encoder of step 24 (epoch 2.4)")
    assert (folder / "out" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--to", "out", "--step", "10"], "step 10 was not exported; these were: 9, 24"),
        (["--to", "out", "--step", "9", "--best"], "--step and --best: give one of them"),
        (["--to", "out", "--best"], "none of its exports has been probed"),
        (["--to", "results"], "is not empty; name a new or an empty folder with --to"),
        (["--to", "tiny.yaml"], "is a file; name a new or an empty folder with --to"),
    ],
)
def test_what_cannot_be_is_one_line(
    call, folder: Path, trial: str, arguments: list[str], told: str
) -> None:
    before = sorted(path.name for path in folder.iterdir())
    said = call("export", trial, *arguments, "--storage", "results")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ") and told in said.err and said.err.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == before


def test_an_unknown_trial_is_one_line(call, folder: Path) -> None:
    said = call("export", "nothing", "--to", "out")
    assert said.code == 2 and not (folder / "out").exists()
    assert said.err == f"error: {folder}/runs: there is no trial 'nothing'; it has none yet\n"
