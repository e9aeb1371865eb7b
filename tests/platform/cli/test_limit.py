"""A study whose device hours are spent: it stops, says so, and goes on when they are raised."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

LIMIT = "resources.max_cpu_hours"


class Limited(NamedTuple):
    """What three runs said: to the limit, at once again, and with a raised limit."""

    lab: Any
    first: Any
    states: list[str]
    shown: list[str]
    """MLflow's status of the submission and of each trial, at the limit."""
    again: Any
    raised: Any


@pytest.fixture(scope="module")
def limited(make_lab) -> Limited:
    lab = make_lab()
    first = lab.call("run", "tiny.yaml", "--set", f"{LIMIT}=0.0001")
    states = lab.states
    shown = [lab.shown(folder).info.status for folder in (lab.submission, *lab.trials)]
    again = lab.call("run", "tiny.yaml", "--set", f"{LIMIT}=0.0001")
    return Limited(
        lab, first, states, shown, again, lab.call("run", "tiny.yaml", "--set", f"{LIMIT}=10")
    )


def test_at_the_limit_every_trial_saves_and_stops(limited) -> None:
    said = limited.first
    assert said.code == 1 and said.err == "" and said.noise == [], said
    assert f"of 0.0001 CPU-hours ({LIMIT}) are spent" in said.words
    assert f"raise {LIMIT} and go on with: mimlab run " in said.words
    # The first may be through before its journal tells what it has spent.
    assert limited.states in (["stopped", "stopped"], ["finished", "stopped"])
    ends = {"stopped": "KILLED", "finished": "FINISHED"}
    assert limited.shown == ["KILLED", *(ends[state] for state in limited.states)]


def test_a_spent_study_is_refused_at_once(limited) -> None:
    said = limited.again
    assert said.code == 2, said
    assert f"of 0.0001 CPU-hours ({LIMIT}) are spent; raise {LIMIT}" in said.err


def test_a_raised_limit_goes_on_in_the_same_submission(limited) -> None:
    lab, said = limited.lab, limited.raised
    assert said.code == 0, said
    assert f"going on with submission {lab.submission.id}" in said.words
    assert lab.states == ["finished", "finished"]
    for number, trial in enumerate(lab.trials):
        first, *resumed = (event["from_step"] for event in lab.events(number, "training"))
        assert first == 0 and all(step > 0 for step in resumed)
        lab.assert_shown_once(trial)
        assert lab.shown(trial).info.status == "FINISHED"
