"""`mimlab status`: where things stand, while a driver runs, after it died, and of one trial."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from mimlab.exits import INTERRUPTED
from mimlab.storage.folders import SubmissionFolder
from one_machine.ports import free_port

DRIVER = """
import os, signal, sys
from mimlab.storage import lease
from mimlab.storage.folders import SubmissionFolder
from mimlab.storage.store import Store

submission = SubmissionFolder(Store(sys.argv[1]), sys.argv[2])
lease.acquire(submission)
for trial in submission.trials():
    lease.claim(trial, submission)
os.kill(os.getpid(), signal.SIGKILL)
"""
AT_WORK = {"step": 10, "total_steps": 24, "images_per_s": 1234.0}


def die(submission: SubmissionFolder) -> None:
    """A driver takes the submission with its trials, and is killed."""
    words = [sys.executable, "-c", DRIVER, str(submission.store.root), submission.id]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(words, env=env, check=False).returncode == -9


def shown(call, *words: str):
    said = call("status", *words, "--storage", "results", "--json")
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_trials_of_a_driver_that_was_killed_are_lost(call, submission, stands) -> None:
    running, probing = submission.trials()
    die(submission)
    stands(running, "running", **AT_WORK)
    stands(probing, "probing", step=24, total_steps=24)
    said = call("status", submission.id, "--storage", "results")
    assert said.code == 0
    assert "2 lost · no driver runs it" in said.out
    assert "running" not in said.out and "1,234" not in said.out
    found = shown(call, submission.id)
    assert [trial["state"] for trial in found["trials"]] == ["lost", "lost"]
    assert [trial["images_per_s"] for trial in found["trials"]] == [0.0, 0.0]
    assert [trial["step"] for trial in found["trials"]] == [10, 24]
    (whole,) = shown(call)
    assert whole["trials"] == found["trials"]


def test_a_trial_that_waited_when_its_driver_was_killed_still_waits(call, submission) -> None:
    die(submission)
    assert "2 pending · no driver runs it" in call("status", "tiny", "--storage", "results").out


def test_a_driver_that_lives_has_its_trials_run(call, submission, driven, stands) -> None:
    running, _ = submission.trials()
    with driven(submission):
        stands(running, "running", **AT_WORK)
        said = call("status", submission.id, "--storage", "results")
        assert "1 running, 1 pending" in said.out
        assert f"run by process {os.getpid()} on" in said.out
        assert "10/24" in said.out and "1,234" in said.out
        assert shown(call, submission.id)["trials"][0]["images_per_s"] == 1234.0


def test_the_driver_of_another_submission_may_run_a_trial_of_both(
    call, submission, create_tiny, driven, stands, folder
) -> None:
    other = create_tiny(folder, "sweep={axes: {masking.ratio: [0.5]}}").submission
    (shared,) = other.trials()
    die(submission)
    with driven(other):
        stands(shared, "running", **AT_WORK)
        states = {each["id"]: [t["state"] for t in each["trials"]] for each in shown(call)}
    assert states == {submission.id: ["running", "pending"], other.id: ["running"]}


def test_one_trial_is_told_of_alone(call, submission, stands) -> None:
    trial, other = submission.trials()
    stands(trial, "failed", reason="the loss is not finite", step=7, total_steps=24)
    said = call("status", trial.id, "--storage", "results")
    assert said.code == 0
    assert "failed: the loss is not finite" in said.words and "7/24" in said.out
    assert other.id not in said.out
    assert [each["id"] for each in shown(call, trial.id)["trials"]] == [trial.id]


def test_a_storage_without_submissions_says_what_makes_one(call, folder) -> None:
    said = call("status", "--storage", "results")
    assert said.code == 0
    assert f"{folder / 'results'}: no submission yet; `mimlab run` and `mimlab submit`" in said.out
    assert shown(call) == []


def test_a_name_of_nothing_is_refused_with_what_there_is(call, submission) -> None:
    said = call("status", "nothing", "--storage", "results")
    assert said.code == 2 and said.out == ""
    assert "there is no submission 'nothing'" in said.words
    assert submission.id in said.words and submission.trials()[0].id in said.words
    assert said.noise == []


@pytest.mark.parametrize("command", ["status", "logs", "stop", "pause"])
def test_an_address_where_no_cluster_is_gets_one_line(call, submission, command: str) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    said = call(command, "nothing", "--storage", "results", "--address", address)
    assert said.code == INTERRUPTED and said.out == ""
    assert said.err.strip() == (
        f"error: {address}: no Ray dashboard answers there; start the cluster, or name another "
        "address"
    )
