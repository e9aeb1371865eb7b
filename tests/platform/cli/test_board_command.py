"""`mimlab board` as its user calls it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from written_checkpoints import manifest_of, state_of

from mimlab.spec.study import trial_spec
from mimlab.storage.folders import TrialFolder
from mimlab.train.build import build_objective
from mimlab.train.checkpoint import write_checkpoint


@pytest.fixture
def trial(tmp_path: Path, create_tiny: Callable) -> TrialFolder:
    """A trial with two checkpoints of different weights, in the storage `results`."""
    made = create_tiny(tmp_path)
    objective = build_objective(trial_spec(made.spec))
    for step in (9, 24):
        with torch.no_grad():
            for parameter in objective.parameters():
                parameter.mul_(1.1)
        state = state_of(step, objective.state_dict())
        write_checkpoint(made.trial, state, manifest_of(step, epoch=1.0))
    return made.trial


def picture(file: Path) -> np.ndarray:
    found = cv2.imread(str(file))
    assert found is not None
    return found


def test_the_newest_checkpoint_is_drawn(call, folder: Path, trial: TrialFolder) -> None:
    said = call("board", trial.id, "--to", "new.png", "--storage", "results", "--images", "3")
    assert (said.code, said.err) == (0, "")
    assert said.out == f"new.png: trial {trial.id} at step 24\n"
    new = picture(folder / "new.png")
    assert new.shape == (3 * 100, 3 * 100, 3)
    call("board", trial.id, "--to", "old.png", "--storage", "results", "--images", "3", "--step", 9)
    old = picture(folder / "old.png")
    assert (old[:200] == new[:200]).all() and (old[200:] != new[200:]).any()


def test_a_torn_checkpoint_gives_way_to_the_one_before(
    call, folder: Path, trial: TrialFolder
) -> None:
    (folder / "results" / trial.file("checkpoints/step_000000024/state.pt")).write_bytes(b"torn")
    said = call("board", trial.id, "--to", "board.png", "--storage", "results")
    assert said.out == f"board.png: trial {trial.id} at step 9\n"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--step", "10"], "has no usable checkpoint of step 10; it is pending at step 0"),
        (["--to", "board.gif"], "a picture is written as PNG"),
        (["--to", "no/board.png"], "cannot be written (No such file or directory)"),
    ],
)
def test_what_cannot_be_is_one_line(
    call, folder: Path, trial: TrialFolder, options: list[str], told: str
) -> None:
    said = call("board", trial.id, "--to", "board.png", "--storage", "results", *options)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ") and told in said.err and said.err.count("\n") == 1
    assert not list(folder.glob("board.*"))


def test_a_trial_without_checkpoints_has_none(call, folder: Path, create_tiny: Callable) -> None:
    made = create_tiny(folder)
    said = call("board", made.trial.id, "--to", "board.png", "--storage", "results")
    assert said.code == 2 and "has no usable checkpoint; it is pending" in said.err
