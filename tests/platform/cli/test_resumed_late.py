"""A trial that is resumed as its driver is about to end for want of anything to run."""

from __future__ import annotations

import time

import pytest

from mimlab.actions.pause import pause_trial
from mimlab.actions.resume import resume_trial


@pytest.mark.slow
def test_the_last_trial_is_put_back_by_the_driver_that_was_about_to_end(make_lab) -> None:
    lab = make_lab()
    running = lab.start("run", "tiny.yaml", "--set", "sweep={}", "--set", "probes=[]")
    lab.mid_training(0, running)
    store, submission, (trial,) = lab.store, lab.submission, lab.trials
    pause_trial(store, submission.id, trial.id, "ada")
    while trial.status().state != "stopped":
        assert not running.ended_by_itself()
        time.sleep(0.01)
    # Tune has no trial left and ends; its driver must not.
    said = resume_trial(store, submission.id, trial.id, "ada", launcher=None)
    assert "put back into the driver" in said or "has not answered yet" in said
    ended = running.ended()
    assert ended.code == 0, ended
    assert lab.states == ["finished"] and trial.status().step == 600
