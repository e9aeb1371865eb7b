"""A study asks a trial that has finished for another probe, and is interrupted at that."""

from __future__ import annotations

import json

import pytest

from mimlab.storage.folders import step_name

pytestmark = pytest.mark.slow

TRIAL, PROBE = "ray::ImplicitFunc", "ray::probe_export"
ONE_TRIAL = ("run", "tiny.yaml", "--set", "sweep.axes={masking.ratio: [0.5]}")
OTHER_PROBE = ("--set", "probes=[{name: knn, at: end, k: 5}]")


def test_a_finished_trial_stays_finished_and_is_trained_no_more(make_lab) -> None:
    lab = make_lab()
    assert lab.call(*ONE_TRIAL).code == 0
    (trial,) = lab.trials
    for step in trial.steps("checkpoints"):  # what it could go on from
        lab.store.remove(trial.file(f"checkpoints/{step_name(step)}"))

    killed = lab.start(*ONE_TRIAL, *OTHER_PROBE)
    killed.awaited_child(PROBE)
    killed.kill()
    assert trial.status().ended == "finished"

    stopped = lab.start(*ONE_TRIAL, *OTHER_PROBE)
    stopped.awaited_child(PROBE)
    stopped.interrupt()
    assert stopped.ended().code == 1
    assert trial.status().state == "finished"

    bereaved = lab.start(*ONE_TRIAL, *OTHER_PROBE)
    bereaved.awaited_child(PROBE)
    bereaved.kill_child(TRIAL)
    said = bereaved.ended()
    assert said.code == 0, said
    status = trial.status()
    assert (status.state, status.ended, status.step) == ("finished", None, 600)
    probed = {record.probe: record.settings.get("k") for record in trial.probes()}
    assert probed == {"knn": 5, "linear": None}
    lines = lab.store.read(trial.file("log.jsonl")).splitlines()
    assert sum(json.loads(line)["event"] == "training" for line in lines) == 1
