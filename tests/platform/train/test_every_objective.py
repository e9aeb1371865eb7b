"""Every objective trains from shards to a checkpoint, and goes on from one to the same bits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from objective_cases import CASES

from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import read_points
from mimlab.train.checkpoint import newest_checkpoint
from mimlab.train.reporter import VOLATILE_KEYS
from mimlab.train.session import Session
from mimlab_objectives.objectives.base import objectives
from mimlab_objectives.registry import import_all

import_all("mimlab_objectives.objectives")
OWN = [e.name for e in objectives.entries() if e.part.__module__.startswith("mimlab_objectives.")]

SHORT = ("train.budget={steps: 6}", "train.log_every=2", "probes=[]")


def test_every_objective_is_here() -> None:
    assert set(CASES) == set(OWN)


def final(trial: TrialFolder) -> dict[str, torch.Tensor]:
    found = newest_checkpoint(trial, on_unusable=lambda step: pytest.fail(f"step {step}"))
    assert found is not None and found[1].step == 6
    return dict(found[0].objective)


def curve(trial: TrialFolder) -> list[dict[str, float]]:
    points = read_points(trial.store, trial.file("journal"))
    return [{k: v for k, v in p.metrics.items() if k not in VOLATILE_KEYS} for p in points]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_it_goes_on_to_the_same_bits(name: str, session_of: Callable[..., Session]) -> None:
    changes = CASES[name]
    often = "train.checkpoint={every_epochs: 0.1, keep_last: 9}"
    session = session_of(*changes, *SHORT, often)
    assert session.run().state == "finished"
    trial = session.trial
    weights, points = final(trial), curve(trial)
    assert {f"train/term/{term}" for term in session.objective.terms} <= points[-1].keys()
    assert trial.store.list(trial.file("boards"))
    saved = trial.steps("checkpoints")
    assert len(saved) > 1
    for step in saved[1:]:
        trial.store.remove(trial.file(f"checkpoints/step_{step:09d}"))
    trial.store.remove(trial.file("outcome.json"))
    assert session_of(*changes, *SHORT, often).run().state == "finished"
    again = final(trial)
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[key], again[key]) for key in weights)
    assert curve(trial) == points
