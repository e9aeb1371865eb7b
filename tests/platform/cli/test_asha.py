"""A study with early stopping: what is clearly worse ends early, by itself, and says so."""

from __future__ import annotations

import json

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SWEEP = """\
  axes:
    train.optimizer.base_lr: [3.0e-3, 1.0]
  stopping: {name: asha, metric: probe/knn/top1, grace_epochs: 8, reduction_factor: 2}
"""


def test_the_bad_setting_is_pruned(make_lab, tiny: str) -> None:
    """The worst comes last, when the rung knows a better one."""
    head, _, _ = tiny.partition("  axes:")
    study = head + SWEEP + "resources: {cpus_per_worker: 1, concurrent_trials: 1}\n"
    study = study.replace("every_epochs: 16", "every_epochs: 8").replace("600", "1000")
    study = study.replace("  - {name: linear, at: end, epochs: 5}\n", "")
    lab = make_lab(study)
    said = lab.call("run", "tiny.yaml")
    assert said.code == 0, said
    assert said.err == "" and said.noise == []
    good, bad = lab.trials
    assert good.status().state == "finished"
    status = bad.status()
    assert status.state == "pruned" and status.step < status.total_steps
    assert status.reason.startswith("probe/knn/top1 ")
    assert "random train.optimizer.base_lr=1.0 (pruned)" in said.words
    run = lab.shown(bad)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mimlab.state"] == "pruned"
    found = json.loads(lab.call("compare", "tiny", "--json").out)
    assert found["best_trial"] == good.id
    assert found["rows"][-1]["states"] == ["pruned"]
