"""What a driver that is gone has left arrives, once, and says what is true."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimlab.errors import UserError
from mimlab.storage import lease
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import OwnerRecord
from mimlab.track import tags
from mimlab.track.catch_up import Drivers, MlflowAway, catch_up, driven_by, meant
from mimlab.track.sent import Sent

TOP1 = "probe/knn/top1"


def shown(lab, submission: SubmissionFolder, uri: str = "") -> Sent:
    """What had to be sent; nothing may go wrong."""
    sent = Sent()
    assert catch_up(submission, uri or lab.uri, sent) == []
    return sent


@pytest.fixture
def left(lab) -> tuple[SubmissionFolder, list[TrialFolder]]:
    """A submission of two trials whose driver died after it had shown some of it."""
    submission = lab.written(trials=2)
    view, trials = lab.opened(trials=2)
    for trial in trials:
        lab.status(trial, "running")
        lab.points(trial, 10)
    assert view.sync() == 20
    lab.points(trials[0], 5)
    lab.export(trials[0], 100)
    lab.probe(trials[0].file("probes"), 100, key=TOP1, value=0.5)
    lab.board(trials[0], 100)
    lab.status(trials[0], "finished")
    lab.points(trials[1], 7)
    return submission, trials


def test_what_was_left_is_sent_and_counted(lab, left) -> None:
    submission, trials = left
    sent = shown(lab, submission)
    assert sent == Sent(points=12, probes=1, boards=1, runs=0, statuses=3)
    assert str(sent) == "12 points, 1 probe result, 1 board, the status of 3 runs"
    assert [len(lab.history(trial, "train/loss")) for trial in trials] == [15, 17]
    assert lab.run(trials[0]).info.status == "FINISHED"
    [model] = lab.client.search_logged_models([lab.run(trials[0]).info.experiment_id])
    assert [metric.value for metric in model.metrics] == [0.5]


def test_what_claims_to_run_and_does_not_is_killed(lab, left) -> None:
    submission, trials = left
    shown(lab, submission)
    run = lab.run(trials[1])
    assert (run.info.status, run.data.tags[tags.STATE]) == ("KILLED", "running")
    assert lab.run(submission).info.status == "KILLED"


def test_the_second_time_nothing_is_missing(lab, left) -> None:
    submission, trials = left
    shown(lab, submission)
    before = [lab.run(trial).to_dictionary() for trial in trials]
    assert shown(lab, submission) == Sent()
    assert str(Sent()) == ""
    assert [lab.run(trial).to_dictionary() for trial in trials] == before


def test_probe_results_without_their_mark_are_sent_again_and_not_doubled(lab, left) -> None:
    """As after a death between the results and the mark."""
    submission, trials = left
    shown(lab, submission)
    lab.client.delete_tag(lab.run(trials[0]).info.run_id, tags.PROBES)
    assert shown(lab, submission) == Sent(probes=1)
    assert len(lab.history(trials[0], TOP1)) == 1
    assert shown(lab, submission) == Sent()
    lab.probe(trials[0].file("probes"), 200, key=TOP1, value=0.6)
    shown(lab, submission)
    assert [value for _, _, value in lab.history(trials[0], TOP1)] == [0.5, 0.6]


def test_an_empty_mlflow_becomes_the_same_as_the_first(lab, make_lab, left, tmp_path: Path) -> None:
    submission, trials = left
    shown(lab, submission)
    links = [trial.mlflow() for trial in trials]
    other = make_lab(f"sqlite:///{tmp_path}/other.db")
    sent = shown(lab, submission, other.uri)
    assert sent == Sent(points=32, probes=1, boards=1, runs=3, statuses=3)
    for here, trial in zip([lab.run(trial) for trial in trials], trials, strict=True):
        query = f"tags.`{tags.TRIAL_ID}` = '{trial.id}'"
        experiment = other.client.get_experiment_by_name(lab.study)
        [there] = other.client.search_runs([experiment.experiment_id], query)
        assert (there.data.params, there.data.metrics) == (here.data.params, here.data.metrics)
        assert there.info.status == here.info.status
        own = [f"{point.step} {point.timestamp} {point.value}" for point in _loss(lab, here)]
        assert [f"{p.step} {p.timestamp} {p.value}" for p in _loss(other, there)] == own
    assert shown(lab, submission, other.uri) == Sent()
    # The submission's own MLflow is where it was.
    assert [trial.mlflow() for trial in trials] == links
    assert shown(lab, submission) == Sent()


def _loss(lab, run) -> list:
    return lab.client.get_metric_history(run.info.run_id, "train/loss")


def test_a_trial_that_another_driver_runs_is_running(lab, left) -> None:
    submission, trials = left
    other = lab.written(name="second", trials=2)
    lease.acquire(other)
    lab.store.write_record(trials[1].file("owner.json"), OwnerRecord(submission=other.id))
    assert shown(lab, submission).statuses == 2
    assert lab.run(trials[1]).info.status == "RUNNING"


def test_a_driver_that_begins_meanwhile_is_noticed(lab, left) -> None:
    submission, trials = left
    drivers = Drivers(submission)
    assert driven_by(submission) == ""
    assert not any(drivers.drives(id_) for id_ in (submission.id, trials[0].id))
    begun = lease.acquire(submission)
    assert "process " in driven_by(submission)
    assert all(drivers.drives(id_) for id_ in (submission.id, trials[0].id))
    begun.release()
    assert not drivers.drives(trials[0].id)


def test_an_mlflow_that_is_away_is_named(lab) -> None:
    submission = lab.written()
    sent = Sent()
    with pytest.raises(MlflowAway, match=r"MLflow at http://127.0.0.1:9: nobody answers there"):
        catch_up(submission, "http://127.0.0.1:9", sent)
    assert sent == Sent()


def test_names_of_submissions_studies_and_trials(lab) -> None:
    first, second = lab.written(), lab.written(name="second", trials=3)
    assert [folder.id for folder in meant(lab.store, [])] == [first.id, second.id]
    assert [folder.id for folder in meant(lab.store, [first.id, first.id])] == [first.id]
    third_trial = f"{lab.study}-t2"
    assert [folder.id for folder in meant(lab.store, [third_trial])] == [second.id]
    with pytest.raises(UserError, match="there is no submission 'nothing'"):
        meant(lab.store, ["nothing"])
