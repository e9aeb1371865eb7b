"""What MLflow shows is what the folders hold."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import MlflowLink, TrialState
from mimlab.track import tags


def test_importing_the_room_does_not_import_mlflow() -> None:
    check = "import mimlab.track.drain, mimlab.track.uri, mimlab.track.metric_keys, sys; "
    subprocess.run(
        [sys.executable, "-c", check + "sys.exit('mlflow' in sys.modules)"],
        env={"PYTHONPATH": ":".join(sys.path)},
        check=True,
    )


def test_a_submission_is_a_parent_run_and_its_trials_are_children(lab) -> None:
    _, trials = lab.opened(trials=4)
    parent = lab.run(SubmissionFolder(lab.store, f"{lab.study}-first"))
    assert lab.client.get_experiment(parent.info.experiment_id).name == lab.study
    assert parent.data.tags["mimlab.question"] == "Does block masking beat random?"
    assert parent.data.tags["mlflow.source.git.commit"] == "1234abcd"
    assert parent.info.start_time == 1767323045000  # 2026-01-02T03:04:05Z
    children = lab.client.search_runs(
        [parent.info.experiment_id], f"tags.mlflow.parentRunId = '{parent.info.run_id}'"
    )
    assert {child.info.run_id for child in children} == {lab.run(t).info.run_id for t in trials}
    names = sorted(child.info.run_name for child in children)
    assert names == ["block 0.75 s1", "block 0.75 s3", "random 0.75 s0", "random 0.75 s2"]


def test_a_child_has_its_identity_as_parameters_and_its_files(lab) -> None:
    _, [trial] = lab.opened()
    run = lab.run(trial)
    assert run.data.params == {"masking.name": "random", "masking.ratio": "0.75", "seed": "0"}
    assert run.data.tags[tags.TRIAL_ID] == trial.id
    assert run.data.tags[tags.RECIPE] == "mae"
    resolved = Path(run.info.artifact_uri, "resolved.yaml").read_text()
    assert "masking:\n  name: random\n" in resolved
    parent = Path(lab.run(SubmissionFolder(lab.store, f"{lab.study}-first")).info.artifact_uri)
    assert (parent / "study.yaml").read_text() == "study: ratio\n"
    assert '"python": "3.11.7"' in (parent / "environment.json").read_text()
    assert (parent / "git.diff").read_text() == "+loss = 0\n"


def test_more_parameters_than_one_request_takes(lab) -> None:
    submission = lab.submission()
    identity = {f"key.{i}": str(i) for i in range(230)} | {"data.classes": "c" * 9000}
    [trial] = [t.model_copy(update={"identity": identity}) for t in lab.trials(submission)]
    lab.view(submission, [trial]).sync()
    shown = lab.run(TrialFolder(lab.store, trial.id)).data.params
    assert len(shown) == 231
    assert shown["key.229"] == "229"


def test_points_keep_the_time_of_the_journal_and_come_once(lab) -> None:
    view, [trial] = lab.opened()
    points = lab.points(trial, 30)
    lab.status(trial, "running")
    assert view.sync() == 30
    assert view.sync() == 0
    points += lab.points(trial, 20)
    assert view.sync() == 20
    expected = [(p.step, p.time_ms, p.metrics["train/loss"]) for p in points]
    assert lab.history(trial, "train/loss") == expected
    assert lab.run(trial).data.tags[tags.JOURNAL_SEQ] == "50"


def test_a_new_driver_goes_on_in_the_same_run(lab) -> None:
    _, [trial] = lab.opened()
    points = lab.points(trial, 10)
    submission = SubmissionFolder(lab.store, f"{lab.study}-first")
    before = lab.run(trial).info.run_id, lab.run(submission).info.run_id
    view, _ = lab.opened()
    assert lab.history(trial, "train/loss")[-1][0] == points[-1].step
    points += lab.points(trial, 5)
    lab.status(trial, "running")
    assert view.sync() == 5
    assert (lab.run(trial).info.run_id, lab.run(submission).info.run_id) == before
    assert len(lab.history(trial, "train/loss")) == 15


def test_values_sent_without_their_mark_are_not_doubled(lab) -> None:
    """MLflow died between the values of a request and its tag."""
    _, [trial] = lab.opened()
    points = lab.points(trial, 40)
    lab.opened()
    lab.client.set_tag(lab.run(trial).info.run_id, tags.JOURNAL_SEQ, "7")
    points += lab.points(trial, 3)
    lab.opened()
    expected = [(p.step, p.time_ms, p.metrics["train/images"]) for p in points]
    assert lab.history(trial, "train/images") == expected


def test_a_driver_that_died_before_it_wrote_the_link_makes_no_second_run(lab) -> None:
    _, [trial] = lab.opened()
    lab.points(trial, 5)
    run = lab.run(trial)
    lab.store.remove(trial.file("mlflow.json"))
    lab.store.remove(f"submissions/{lab.study}-first/mlflow.json")
    lab.client.delete_tag(run.info.run_id, tags.OPENED)
    lab.opened()
    assert lab.run(trial).info.run_id == run.info.run_id
    assert len(lab.client.search_runs([run.info.experiment_id])) == 2


def test_the_same_trial_in_another_storage_is_another_run(lab, tmp_path: Path) -> None:
    _, [trial] = lab.opened()
    here = lab.points(trial, 5)
    lab.opened()
    other = type(lab)(tmp_path / "others", lab.uri, lab.study)
    _, [same] = other.opened()
    there = other.points(same, 3)
    other.opened()
    assert same.id == trial.id
    assert other.run(same).info.run_id != lab.run(trial).info.run_id
    for shown, folder, points in ((lab, trial, here), (other, same, there)):
        expected = [(p.step, p.time_ms, p.metrics["train/loss"]) for p in points]
        assert shown.history(folder, "train/loss") == expected


def test_what_was_deleted_in_the_page_comes_back(lab) -> None:
    _, [trial] = lab.opened()
    run = lab.run(trial)
    lab.client.delete_run(run.info.run_id)
    lab.opened()
    assert lab.run(trial).info.lifecycle_stage == "active"
    lab.client.delete_experiment(run.info.experiment_id)
    lab.points(trial, 3)
    lab.opened()
    assert lab.client.get_experiment(run.info.experiment_id).lifecycle_stage == "active"
    assert len(lab.history(trial, "train/loss")) == 3


def test_a_run_that_is_elsewhere_is_shown_here_whole_and_the_user_is_told(
    lab, caplog: pytest.LogCaptureFixture
) -> None:
    _, [trial] = lab.opened()
    points = lab.points(trial, 8)
    there = MlflowLink(tracking_uri="http://other:5000", experiment_id="1", run_id="a" * 32)
    lab.store.write_record(trial.file("mlflow.json"), there)
    submission = lab.submission()
    fork = lab.trials(submission)[0].model_copy(update={"id": f"{trial.id}-x", "parent": trial.id})
    folder = TrialFolder(lab.store, fork.id)
    lab.store.write_record(folder.file("mlflow.json"), there)
    lab.store.write(
        folder.file("journal/000000001.jsonl"),
        b"".join(p.model_dump_json().encode() + b"\n" for p in points),
    )
    with caplog.at_level(logging.WARNING):
        lab.view(submission, [fork]).sync()
    assert "http://other:5000" in caplog.text
    assert len(lab.history(folder, "train/loss")) == 8
    run = lab.run(folder)
    assert run.data.tags[tags.FORKED_FROM] == trial.id
    assert run.info.start_time == points[0].time_ms


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("pending", "SCHEDULED"),
        ("running", "RUNNING"),
        ("probing", "RUNNING"),
        ("finished", "FINISHED"),
        ("pruned", "FINISHED"),
        ("stopped", "KILLED"),
        ("preempted", "KILLED"),
        ("failed", "FAILED"),
        ("diverged", "FAILED"),
    ],
)
def test_every_ending_is_shown_as_what_it_is(lab, state: TrialState, status: str) -> None:
    view, [trial] = lab.opened()
    lab.status(trial, state, reason="because")
    view.sync()
    run = lab.run(trial)
    assert run.info.status == status
    shown = {key: run.data.tags[key] for key in (tags.STATE, tags.REASON, tags.ATTEMPT)}
    assert shown == {tags.STATE: state, tags.REASON: "because", tags.ATTEMPT: "1"}


def test_a_trial_that_goes_on_runs_again_and_so_does_its_submission(lab) -> None:
    view, [trial] = lab.opened()
    folder = SubmissionFolder(lab.store, f"{lab.study}-first")
    lab.status(trial, "preempted", reason="spot")
    assert view.close()
    assert (lab.run(trial).info.status, lab.run(folder).info.status) == ("KILLED", "KILLED")
    view, _ = lab.opened()
    lab.status(trial, "running")
    view.sync()
    assert (lab.run(trial).info.status, lab.run(folder).info.status) == ("RUNNING", "RUNNING")
    lab.status(trial, "finished")
    assert view.close()
    assert (lab.run(trial).info.status, lab.run(folder).info.status) == ("FINISHED", "FINISHED")
    assert lab.run(trial).info.end_time is not None


def test_what_claims_to_run_is_killed_when_the_driver_leaves_and_runs_again_with_the_next(
    lab,
) -> None:
    view, [trial] = lab.opened()
    lab.status(trial, "running")
    view.sync()
    view.close()
    assert lab.run(trial).info.status == "KILLED"
    lab.opened()
    assert lab.run(trial).info.status == "RUNNING"


def test_the_terminal_status_comes_after_all_that_was_written_before_it(lab) -> None:
    """What MLflow calls finished is whole, so a point that cannot be read holds the end back."""
    view, [trial] = lab.opened()
    lab.points(trial, 12)
    lab.probe(trial.file("probes"), 100, key="probe/knn/top1", value=0.5)
    lab.status(trial, "finished")
    segment = lab.store.read(trial.file("journal/000000001.jsonl"))
    lab.store.write(trial.file("journal/000000001.jsonl"), segment[:-20])
    view.sync()
    assert lab.run(trial).info.status != "FINISHED"
    lab.store.write(trial.file("journal/000000001.jsonl"), segment)
    view.sync()
    assert lab.run(trial).info.status == "FINISHED"
    assert len(lab.history(trial, "train/loss")) == 12
    assert len(lab.history(trial, "probe/knn/top1")) == 1


def test_one_damaged_trial_does_not_hide_the_others(lab) -> None:
    view, trials = lab.opened(trials=2)
    for trial in trials:
        lab.status(trial, "running")
        lab.points(trial, 4)
    good = lab.store.read(trials[0].file("journal/000000001.jsonl"))
    lab.store.write(trials[0].file("journal/000000001.jsonl"), b"not a point\n")
    view.sync()
    assert trials[0].id in view.last_error
    assert view.behind
    assert len(lab.history(trials[1], "train/loss")) == 4
    lab.store.write(trials[0].file("journal/000000001.jsonl"), good)
    assert view.sync() == 4
    assert (view.last_error, view.behind) == ("", False)


def test_values_that_are_no_numbers_do_not_stop_the_curve(lab) -> None:
    view, [trial] = lab.opened()
    lab.status(trial, "running")
    lab.store.write(
        trial.file("journal/000000001.jsonl"),
        b'{"seq":1,"time_ms":1,"step":1,"metrics":{"train/grad_norm":NaN,"a|b":1.0}}\n'
        b'{"seq":2,"time_ms":2,"step":2,"metrics":{"train/grad_norm":Infinity}}\n',
    )
    assert view.sync() == 2
    assert [step for step, _, _ in lab.history(trial, "train/grad_norm")] == [1, 2]
    assert len(lab.history(trial, "a_b")) == 1


def test_a_trial_reused_by_another_submission_keeps_its_run(lab) -> None:
    _, [trial] = lab.opened()
    run_id = lab.run(trial).info.run_id
    again = lab.submission(name="second")
    lab.view(again, lab.trials(again)).sync()
    run = lab.run(trial)
    assert run.info.run_id == run_id
    assert run.data.tags[tags.SUBMISSIONS] == f"{lab.study}-first {lab.study}-second"
    note = lab.client.get_experiment(run.info.experiment_id).tags[tags.NOTE]
    assert again.id in note


def test_trials_of_an_adaptive_search_are_added_as_they_come(lab) -> None:
    submission = lab.submission(trials=3)
    first, *others = lab.trials(submission)
    view = lab.view(submission, [first])
    view.sync()
    view.add_trials(others)
    view.sync()
    experiment = lab.run(SubmissionFolder(lab.store, submission.id)).info.experiment_id
    assert len(lab.client.search_runs([experiment])) == 4


def test_a_view_built_again_in_an_empty_database_is_the_same(lab, make_lab, tmp_path: Path) -> None:
    view, [trial] = lab.opened()
    points = lab.points(trial, 25)
    lab.probe(trial.file("probes"), 100, key="probe/knn/top1", value=0.5)
    lab.board(trial, 100)
    lab.status(trial, "finished")
    view.close()
    elsewhere = make_lab(f"sqlite:///{tmp_path}/new.db")
    elsewhere.opened()
    assert elsewhere.run(trial).info.status == "FINISHED"
    expected = [(p.step, p.time_ms, p.metrics["train/loss"]) for p in points]
    assert elsewhere.history(trial, "train/loss") == expected
    assert elsewhere.run(trial).data.metrics == points[-1].metrics | {"probe/knn/top1": 0.5}


def test_what_differs_since_a_resume_is_a_tag(lab) -> None:
    view, (trial,) = lab.opened()
    lab.status(trial, "running")
    view.sync()
    assert tags.DIFFERS not in lab.run(trial).data.tags
    said = ["workers 2 → 1: the samples are the same, floating-point sums are not", "threads 4 → 1"]
    trial.write_status(trial.status().model_copy(update={"differs": said}))
    view.sync()
    assert lab.run(trial).data.tags[tags.DIFFERS] == "; ".join(said)
