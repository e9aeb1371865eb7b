"""A study with early stopping: what is clearly worse ends early, by itself, and says so; a driver
that died in between changes nothing of it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

pytestmark = pytest.mark.slow

SWEEP = """\
  axes:
    train.optimizer.base_lr: [3.0e-3, 1.0]
    train.budget.steps: [400, 8000]
  zip: [[train.optimizer.base_lr, train.budget.steps]]
  stopping: {name: asha, metric: probe/knn/top1, grace_epochs: 8, reduction_factor: 2}
"""


@pytest.fixture(scope="module")
def study(tiny: str) -> str:
    """The worst comes last, when the rung knows a better one, and takes longer than a first probe
    does on any machine."""
    head, _, _ = tiny.partition("  axes:")
    text = head + SWEEP + "resources: {cpus_per_worker: 1, concurrent_trials: 1}\n"
    text = text.replace("every_epochs: 16", "every_epochs: 8")
    return text.replace("  - {name: linear, at: end, epochs: 5}\n", "")


class Undisturbed(NamedTuple):
    lab: Any
    said: Any


@pytest.fixture(scope="module")
def undisturbed(make_lab, study: str) -> Undisturbed:
    lab = make_lab(study)
    return Undisturbed(lab, lab.call("run", "tiny.yaml"))


def test_the_bad_setting_is_pruned(undisturbed: Undisturbed) -> None:
    lab, said = undisturbed
    assert said.code == 0, said
    assert said.err == "" and said.noise == []
    good, bad = lab.trials
    assert good.status().state == "finished"
    status = bad.status()
    assert status.state == "pruned" and status.step < status.total_steps
    assert status.reason.startswith("probe/knn/top1 ")
    assert "base_lr=1.0 train.budget.steps=8000 (pruned)" in said.words
    run = lab.shown(bad)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mimlab.state"] == "pruned"
    found = json.loads(lab.call("compare", "tiny", "--json").out)
    assert found["best_trial"] == good.id
    assert found["rows"][-1]["states"] == ["pruned"]


def test_a_driver_that_died_judges_by_the_rungs_of_its_trials_before(
    make_lab, study: str, undisturbed: Undisturbed
) -> None:
    """Alone at its rungs, as Tune has it after a restart, no trial would be pruned. The second one
    dies once it has decided."""
    lab = make_lab(study)
    first = lab.start("run", "tiny.yaml")
    lab.wait_for_submission(first)
    lab.mid_training(1, first)
    first.kill()
    assert not lab.trials[1].probes()
    second = lab.start("run", "tiny.yaml")
    lab.pruned(1, second)
    second.kill()
    said = lab.call("run", "tiny.yaml")
    assert said.code == 0, said
    assert lab.states == ["finished", "pruned"]
    assert len(lab.events(0, "training")) == 1
    reasons = [trial.status().reason for trial in (lab.trials[1], undisturbed.lab.trials[1])]
    assert reasons[0] == reasons[1]
