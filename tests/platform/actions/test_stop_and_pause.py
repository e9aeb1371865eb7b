"""Stop, pause and resume: what is written, what is started, and what is refused."""

from __future__ import annotations

import pytest

from mimlab.actions import audit, resume
from mimlab.actions.fork import fork
from mimlab.actions.pause import pause_submission, pause_trial
from mimlab.actions.resume import resume_submission, resume_trial
from mimlab.actions.stop import stop_submission, stop_trial
from mimlab.errors import UserError
from mimlab.storage import lease
from mimlab.storage.asked import asked_of, asked_of_whole, pause_of, paused, withdraw
from mimlab.storage.control import stop_request


def words_of(recorder) -> list[str]:
    (launched,) = recorder.launched
    return launched.words


def test_a_stop_reaches_the_driver_by_the_storage_and_is_audited(submission, driven) -> None:
    with driven(submission):
        said = stop_submission(submission.store, submission.id, "ada")
    asked = asked_of_whole(submission)
    assert asked is not None and asked.reason == "stopped by ada"
    assert "save and end" in said
    (line,) = audit.read(submission.store)
    assert (line.who, line.what, line.on) == ("ada", "stop", submission.id)


def test_without_a_driver_a_stop_is_refused_and_marks_nothing(submission) -> None:
    with pytest.raises(UserError, match="no driver runs submission"):
        stop_submission(submission.store, submission.id, "ada")
    assert asked_of(submission) == {} and audit.read(submission.store) == []
    assert {trial.status().state for trial in submission.trials()} == {"pending"}


def test_a_driver_that_died_is_not_started_again(submission, driven) -> None:
    with driven(submission) as own:
        record = lease.current(submission.store, submission.id)
        assert record is not None
        dead = record.model_copy(update={"process_born": record.process_born + 1})
        submission.store.write_record(submission.file(f"lease/{own.fence:06d}.json"), dead)
        said = stop_submission(submission.store, submission.id, "ada")
        assert "died" in said and asked_of_whole(submission) is not None


def test_a_job_that_has_not_begun_is_stopped_by_its_launcher(submission, recorder) -> None:
    recorder.states["later"] = "pending"
    said = stop_submission(submission.store, "later", "ada", recorder)
    assert recorder.stopped == ["later"] and "before its driver has begun" in said


def test_an_unknown_submission_is_named_with_what_there_is(submission, recorder) -> None:
    with pytest.raises(UserError, match=f"no submission 'none'.*{submission.id}"):
        stop_submission(submission.store, "none", "ada", recorder)


def test_one_trial_is_stopped_alone(submission, driven, stands) -> None:
    first, other = submission.trials()
    with driven(submission):
        stands(first, "running")
        stop_trial(submission.store, submission.id, first.id, "ada")
        assert asked_of(submission).keys() == {first.id}
        stands(other, "finished")
        with pytest.raises(UserError, match="is finished: there is nothing to stop"):
            stop_trial(submission.store, submission.id, other.id, "ada")


def test_a_trial_that_no_driver_runs_is_not_stopped(submission) -> None:
    trial = submission.trials()[0]
    with pytest.raises(UserError, match=f"mimlab pause {trial.id}"):
        stop_trial(submission.store, submission.id, trial.id, "ada")
    with pytest.raises(UserError, match="has no trial 'abc'"):
        stop_trial(submission.store, submission.id, "abc", "ada")


def test_a_paused_submission_says_so_until_it_is_resumed(submission, driven, recorder) -> None:
    with driven(submission):
        pause_submission(submission.store, submission.id, "ada")
        with pytest.raises(UserError, match="is about to end"):
            resume_submission(submission.store, submission.id, "bob", launcher=recorder)
    asked = asked_of_whole(submission)
    assert asked is not None and asked.what == "pause"
    resume_submission(submission.store, submission.id, "bob", launcher=recorder)
    assert asked_of_whole(submission) is None
    root = str(submission.store.root)
    assert words_of(recorder) == ["supervise", submission.id, "--storage", root, "--by", "bob"]


def test_a_resume_sends_the_code_of_the_folder(submission, recorder) -> None:
    resume_submission(submission.store, submission.id, "ada", launcher=recorder)
    (launched,) = recorder.launched
    assert launched.submission_id == submission.id
    assert {"mimlab/cli/main.py", "mimlab_objectives/keys.py"} <= launched.files.keys()


def test_a_resume_without_the_code_names_the_file(submission, recorder) -> None:
    submission.store.remove(submission.file("code.zip"))
    with pytest.raises(UserError, match=r"code\.zip is missing"):
        resume_submission(submission.store, submission.id, "ada", launcher=recorder)
    assert recorder.launched == []


def test_nothing_is_started_where_nothing_is_left(submission, recorder, stands) -> None:
    first, other = submission.trials()
    stands(first, "finished")
    stands(other, "failed", reason="NaN")
    with pytest.raises(UserError, match="1 failed, which --retry-failed starts again"):
        resume_submission(submission.store, submission.id, "ada", launcher=recorder)
    assert recorder.launched == []
    resume_submission(submission.store, submission.id, "ada", launcher=recorder, retry_failed=True)
    assert "--retry-failed" in words_of(recorder)


def test_a_paused_trial_waits_until_it_is_resumed_itself(submission, recorder) -> None:
    trial, other = submission.trials()
    pause_trial(submission.store, submission.id, trial.id, "ada")
    assert paused(submission).keys() == {trial.id}
    resume_submission(submission.store, submission.id, "bob", launcher=recorder)
    assert paused(submission).keys() == {trial.id}
    resume_trial(submission.store, submission.id, trial.id, "bob", launcher=recorder)
    assert paused(submission) == {}
    assert recorder.launched[1].words[-2:] == ["--trial", trial.id]
    assert pause_of(trial) is None and pause_of(other) is None


def test_a_trial_goes_back_into_the_driver_that_runs(
    submission, driven, stands, monkeypatch
) -> None:
    monkeypatch.setattr(resume, "ANSWER_S", 0.1)
    trial = submission.trials()[0]
    with driven(submission):
        stands(trial, "stopped")
        said = resume_trial(submission.store, submission.id, trial.id, "ada", launcher=None)
        assert asked_of(submission)[trial.id].what == "resume" and "has ended" in said
        stands(trial, "running")
        asked_before = asked_of(submission)
        resume_trial(submission.store, submission.id, trial.id, "ada", launcher=None)
        assert asked_of(submission).keys() == asked_before.keys()


def test_what_is_left_of_a_lost_trial_ends_before_it_is_put_back(
    submission, driven, stands, monkeypatch
) -> None:
    monkeypatch.setattr(resume, "ANSWER_S", 0.1)
    trial, other = submission.trials()
    with driven(submission):
        for each in (trial, other):
            stands(each, "running")
        with pytest.raises(UserError, match="is being run"):
            resume_trial(submission.store, submission.id, trial.id, "ada", launcher=None)
        said = resume_trial(
            submission.store, submission.id, trial.id, "ada", launcher=None, lost=True
        )
        request = stop_request(trial)
        assert request is not None and request.state == "stopped"
        assert asked_of(submission)[trial.id].what == "resume" and "has ended" in said
        assert stop_request(other) is None


def test_a_resume_is_told_once_the_driver_has_taken_it(
    submission, driven, stands, monkeypatch
) -> None:
    trial = submission.trials()[0]
    monkeypatch.setattr(resume.time, "sleep", lambda _: withdraw(submission, trial.id))
    with driven(submission):
        stands(trial, "stopped")
        said = resume_trial(submission.store, submission.id, trial.id, "ada", launcher=None)
    assert said == f"trial {trial.id} is put back into the driver that runs its submission"


def test_a_resume_that_the_driver_did_not_see_any_more_starts_another(
    submission, driven, stands, recorder, monkeypatch
) -> None:
    trial = submission.trials()[0]
    driving = driven(submission)
    monkeypatch.setattr(resume.time, "sleep", lambda _: driving.__exit__(None, None, None))
    driving.__enter__()
    stands(trial, "stopped")
    said = resume_trial(submission.store, submission.id, trial.id, "ada", launcher=recorder)
    assert said == f"trial {trial.id}: a driver is being started for it"
    assert recorder.launched[0].words[-2:] == ["--trial", trial.id]
    assert asked_of(submission) == {}


def test_a_trial_that_runs_is_not_resumed(submission, driven, stands) -> None:
    trial = submission.trials()[0]
    with driven(submission):
        stands(trial, "running")
        with pytest.raises(UserError, match="is being run"):
            resume_trial(submission.store, submission.id, trial.id, "ada", launcher=None)


def test_ended_trials_say_what_goes_on_with_them(submission, stands, recorder) -> None:
    trial = submission.trials()[0]
    stands(trial, "finished")
    with pytest.raises(UserError, match=f"mimlab extend {trial.id}"):
        resume_trial(submission.store, submission.id, trial.id, "ada", launcher=recorder)
    with pytest.raises(UserError, match="nothing to pause"):
        pause_trial(submission.store, submission.id, trial.id, "ada")
    stands(trial, "diverged", reason="NaN")
    with pytest.raises(UserError, match="--retry-failed"):
        resume_trial(submission.store, submission.id, trial.id, "ada", launcher=recorder)


def test_a_trial_of_another_submission_is_named_with_its_own(submission, driven) -> None:
    trial = submission.trials()[0]
    with driven(submission):
        pass
    store = submission.store
    copy = type(submission)(store, "tiny-20200101-000000")
    for name in ("trials.json", "submission.json"):
        store.write(copy.file(name), store.read(submission.file(name)))
    with pytest.raises(UserError, match=f"{submission.id} runs it"):
        stop_trial(store, copy.id, trial.id, "ada")


@pytest.mark.parametrize("name", ["../elsewhere", "..", "", "a/b", ".hidden"])
def test_what_is_no_id_leads_nowhere(submission, recorder, name: str) -> None:
    for action in (stop_submission, pause_submission):
        with pytest.raises(UserError, match="is no id of"):
            action(submission.store, name, "ada", recorder)
    with pytest.raises(UserError, match="is no id of"):
        resume_submission(submission.store, name, "ada", launcher=recorder)
    with pytest.raises(UserError, match="is no id of"):
        fork(submission.store, name, ["masking.ratio=0.6"], launcher=recorder, by="ada")
