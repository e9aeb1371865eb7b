"""`mimlab logs`: what a driver and its trials have said."""

from __future__ import annotations

import json
import time

import pytest

from mimlab.actions.own_processes import OwnProcesses
from mimlab.train.log import TrialLog

RESULTS = ("--storage", "results")


@pytest.fixture
def told(submission):
    """Two trials that have said something in turn."""
    first, other = (TrialLog(trial) for trial in submission.trials())
    for log, event, step in ((first, "started", 0), (other, "started", 0), (first, "finished", 24)):
        log.write(event, {"step": step})
        time.sleep(0.01)  # logs count milliseconds
    return submission


def test_a_trial_tells_what_happened_to_it(call, told) -> None:
    said = call("logs", told.trials()[0].id, *RESULTS)
    assert (said.code, said.err) == (0, "")
    assert [line.split(" ", 2)[2] for line in said.out.splitlines()] == [
        "started step=0",
        "finished step=24",
    ]


def test_trials_of_a_submission_are_told_of_together_in_order(call, told) -> None:
    first, other = (trial.id for trial in told.trials())
    said = call("logs", "tiny", *RESULTS)
    assert [line.split(" ")[0] for line in said.out.splitlines()] == [first, other, first]
    last = call("logs", told.id, "-n", "1", *RESULTS)
    assert last.out.splitlines() == said.out.splitlines()[-1:]


def test_what_a_trial_said_within_one_moment_stays_in_order(call, submission) -> None:
    trial = submission.trials()[0]
    for event in ("started", "resumed", "finished"):
        line = json.dumps({"time": 1700000000.5, "pid": 1, "event": event})
        trial.store.append(trial.file("log.jsonl"), line)
    said = call("logs", submission.id, *RESULTS)
    events = [line.split(" ")[-1] for line in said.out.splitlines()]
    assert events == ["started", "resumed", "finished"]


def test_a_driver_of_this_machine_is_heard_itself(call, told, ended) -> None:
    words = ["status", "nothing", "--storage", str(told.store.root)]
    processes = OwnProcesses(told.store)
    processes.start(told.id, words, None)
    ended(processes, told.id)
    said = call("logs", told.id, *RESULTS)
    assert said.code == 0
    assert "there is no submission 'nothing'" in said.words
    assert "finished step=24" not in said.out


def test_where_nothing_was_said_nothing_is_printed(call, submission) -> None:
    for name in (submission.id, submission.trials()[0].id):
        said = call("logs", name, *RESULTS)
        assert (said.code, said.out, said.err) == (0, "", "")


def test_a_name_of_nothing_is_refused_with_what_there_is(call, submission) -> None:
    said = call("logs", "nothing", *RESULTS)
    assert (said.code, said.out, said.noise) == (2, "", [])
    assert "there is no submission 'nothing'" in said.words and submission.id in said.words
