"""`mimlab stop` and `pause`: what they say, and what `status` then says of it."""

from __future__ import annotations

import os

import pytest

from mimlab.user import this_user

RESULTS = ("--storage", "results")


def test_a_submission_that_runs_is_asked_to_stop(call, submission, driven) -> None:
    with driven(submission):
        said = call("stop", submission.id, *RESULTS)
        assert said.code == 0 and said.err == ""
        assert said.out.startswith(
            f"submission {submission.id}: its trials save and end, and then its driver, process "
            f"{os.getpid()} on "
        )
        assert f"stopped by {this_user()}" in call("status", *RESULTS).out


def test_a_study_names_its_latest_submission(call, submission, driven) -> None:
    with driven(submission):
        said = call("pause", "tiny", *RESULTS)
        assert said.code == 0 and f"submission {submission.id}: its trials save and end" in said.out
        assert f"paused by {this_user()}" in call("status", *RESULTS).out


def test_one_trial_is_stopped_and_another_is_paused(call, submission, driven, stands) -> None:
    first, other = submission.trials()
    with driven(submission):
        stands(first, "running")
        said = call("stop", first.id, *RESULTS)
        assert said.code == 0
        assert said.out == f"trial {first.id} saves a checkpoint and ends; the others go on\n"
        said = call("pause", other.id, *RESULTS)
        assert said.code == 0
        assert said.out == f"trial {other.id} saves a checkpoint and gives its place to others\n"


def test_a_trial_that_nobody_runs_is_left_out_from_then_on(call, submission) -> None:
    trial = submission.trials()[0]
    said = call("pause", trial.id, *RESULTS)
    assert said.code == 0
    assert said.out == f"trial {trial.id} does not run, and is left out until it is resumed\n"


def test_what_has_ended_is_neither_stopped_nor_paused(call, submission, driven, stands) -> None:
    trial = submission.trials()[0]
    stands(trial, "finished")
    with driven(submission):
        for command in ("stop", "pause"):
            said = call(command, trial.id, *RESULTS)
            assert (said.code, said.out) == (2, "")
            assert said.err == (
                f"error: trial {trial.id} is finished: there is nothing to {command}\n"
            )


@pytest.mark.parametrize("command", ["stop", "pause"])
def test_a_submission_that_nobody_runs_is_refused(call, submission, command: str) -> None:
    said = call(command, submission.id, *RESULTS)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error: no driver runs submission {submission.id}: ")


def test_a_trial_that_nobody_runs_is_refused_with_what_leaves_it_out(call, submission) -> None:
    trial = submission.trials()[0]
    said = call("stop", trial.id, *RESULTS)
    assert (said.code, said.out) == (2, "")
    assert f"`mimlab pause {trial.id}` leaves it out" in said.words


@pytest.mark.parametrize("command", ["stop", "pause"])
@pytest.mark.parametrize("name", ["tiny-20200101-000000", "0123456789ab"])
def test_a_name_of_nothing_is_refused_with_what_there_is(
    call, submission, command: str, name: str
) -> None:
    said = call(command, name, *RESULTS)
    assert (said.code, said.out, said.noise) == (2, "", [])
    assert f"there is no submission '{name}'" in said.words
    assert submission.id in said.words and submission.trials()[0].id in said.words


@pytest.mark.parametrize("command", ["stop", "pause"])
def test_a_name_that_leads_elsewhere_is_refused(call, submission, command: str) -> None:
    said = call(command, "../results", *RESULTS)
    assert (said.code, said.out) == (2, "")
    assert said.err == "error: '../results' is no id of a submission or a trial\n"
