"""A study with a budget in hours: measured once, the same steps after an interruption."""

from __future__ import annotations

import json

import pytest

CHANGES = ("train.budget={cpu_hours: 0.005}", "sweep={}", "probes=[]")
HOURS = [word for change in CHANGES for word in ("--set", change)]


def steps(lab) -> list[int]:
    return [
        record.resolved["train"]["budget"]["steps"] for record in lab.submission.trial_records()
    ]


@pytest.mark.slow
def test_an_interrupted_study_goes_on_with_the_steps_that_were_measured(make_lab) -> None:
    lab = make_lab()
    running = lab.start("run", "tiny.yaml", *HOURS)
    lab.wait_for_submission(running)
    running.kill()
    (measured,) = steps(lab)
    # A core for 18 s.
    assert 100 < measured < 100_000
    (record,) = lab.submission.trial_records()
    assert record.budget_asked == {"cpu_hours": 0.005}
    assert record.identity["train.budget.steps"] == str(measured)

    shown = json.loads(lab.call("plan", "tiny.yaml", *HOURS, "--json").out)
    assert [trial["steps"] for trial in shown["trials"]] == [measured]
    said = lab.call("run", "tiny.yaml", *HOURS)
    assert said.code == 0, said
    assert "going on with submission" in said.words
    assert steps(lab) == [measured] and lab.states == ["finished"]
    assert lab.trials[0].status().step == measured
