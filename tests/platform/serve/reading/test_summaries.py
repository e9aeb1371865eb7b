"""Summaries are what the records say, by closed forms."""

from __future__ import annotations

import pytest

from mimlab.errors import UserError
from mimlab.search.hour_limit import HourLimit
from mimlab.serve.reading import Reading
from mimlab.spec.study import Resources


def test_an_empty_storage_has_no_submissions(storage) -> None:
    assert Reading(storage.store).submissions() == []


def test_progress_and_time_left(storage) -> None:
    trials = [storage.trial(seed=seed) for seed in range(4)]
    submission = storage.submission(trials=trials)
    storage.lease(submission)
    storage.status(trials[0], "finished", 100, images_per_s=640.0)
    storage.status(trials[1], "running", 50, images_per_s=640.0)
    storage.status(trials[2], "running", 0, images_per_s=640.0)
    (summary,) = Reading(storage.store).submissions()
    assert summary.progress == pytest.approx((1 + 0.5) / 4)
    assert summary.trials == {"finished": 1, "running": 2, "pending": 1}
    # 100 steps of 64 images take 10 s: 5 and 10 s are left of two, 10 of the one that waits.
    assert summary.eta_s == pytest.approx(max(10.0, (5 + 10 + 10) / 2))


def test_an_adaptive_search_counts_what_it_has_yet_to_choose(storage) -> None:
    trial = storage.trial()
    search = {"name": "optuna", "num_trials": 4}
    storage.submission(trials=[trial], sweep={"search": search, "seeds": [0, 1]})
    storage.status(trial, "finished", 100)
    (summary,) = Reading(storage.store).submissions()
    assert summary.num_trials == 8
    assert summary.progress == pytest.approx(1 / 8)
    assert summary.state != "finished"


@pytest.mark.parametrize(
    ("states", "shown"),
    [
        (["finished", "pruned"], "finished"),
        (["finished", "failed"], "failed"),
        (["finished", "stopped"], "stopped"),
        (["pending", "pending"], "pending"),
        (["running", "finished"], "lost"),
    ],
)
def test_the_state_of_a_submission_that_nobody_drives(storage, states, shown: str) -> None:
    trials = [storage.trial(seed=seed) for seed in range(2)]
    storage.submission(trials=trials)
    for trial, state in zip(trials, states, strict=True):
        storage.status(trial, state)
    (summary,) = Reading(storage.store).submissions()
    assert summary.state == shown
    assert summary.driver_alive is False


def test_hours_are_those_that_the_limit_counts(storage) -> None:
    trials = [storage.trial(seed=seed) for seed in range(3)]
    resources = Resources(workers=2, cpus_per_worker=3.0, max_cpu_hours=1.0)
    asked = resources.model_dump(mode="json")
    submission = storage.submission(trials=trials, resources=asked)
    other = storage.submission("other-20260115-101501", trials=trials[2:])
    reading = Reading(storage.store)
    for trial in trials:
        storage.owner(trial, other if trial is trials[2] else submission)
        storage.points(trial, [3.0, 2.0, 1.0])
        storage.probe(trial, 30, 0.5)
        storage.status(trial, "finished", 30, 30)
    # 30 steps of 64 images at 640 images/s, and a probe of 1.5 s, on 2 workers of 3 cores.
    expected = 2 * (3.0 + 1.5) * 2 * 3 / 3600
    for _ in range(2):
        summary = reading.submission(submission.id).summary
        assert summary.hours_spent == pytest.approx(expected)
        assert summary.hours_spent == pytest.approx(HourLimit(submission, resources).spent())
        assert (summary.hours_unit, summary.hours_limit) == ("CPU-hours", 1.0)


def test_a_journal_that_could_not_be_read_meanwhile_is_counted_once(storage) -> None:
    trial = storage.trial()
    submission = storage.submission(trials=[trial])
    storage.owner(trial, submission)
    storage.points(trial, [3.0])
    storage.status(trial, "running", 10)
    reading = Reading(storage.store)
    reading.submission(submission.id)
    for step in (20, 30, 40):
        storage.points(trial, [1.0], first_step=step)
    last = storage.store.list(f"trials/{trial.id}/journal")[-1]
    path = f"trials/{trial.id}/journal/{last}"
    sound = storage.store.read(path)
    storage.store.write(path, b"{")
    for _ in range(2):
        with pytest.raises(UserError, match=last):
            reading.submission(submission.id)
    storage.store.write(path, sound)
    found = reading.submission(submission.id).summary.hours_spent
    assert found == Reading(storage.store).submission(submission.id).summary.hours_spent


def test_the_newest_comes_first_and_a_damaged_one_hides_no_other(storage) -> None:
    storage.submission("a-20260115-101500", [storage.trial()])
    newer = "2026-02-01T00:00:00+00:00"
    storage.submission("b-20260201-000000", [storage.trial()], created=newer)
    storage.store.write("submissions/c/submission.json", b"{")
    reading = Reading(storage.store)
    assert [s.id for s in reading.submissions()] == ["b-20260201-000000", "a-20260115-101500"]
    (words,) = reading.unreadable()
    assert "submissions/c" in words


@pytest.mark.parametrize(
    "path", ["owner.json", "probes/knn-000000100.json", "journal/000000001.jsonl"]
)
def test_what_is_damaged_of_one_trial_hides_no_other_submission(storage, path: str) -> None:
    damaged, sound = storage.trial(seed=0), storage.trial(seed=1)
    one = storage.submission("a-20260115-101500", [damaged])
    other = storage.submission("b-20260201-000000", [sound])
    for trial, submission in ((damaged, one), (sound, other)):
        storage.owner(trial, submission)
        storage.status(trial, "running", 100)
    storage.store.write(f"trials/{damaged.id}/{path}", b"{")
    reading = Reading(storage.store)
    assert [s.id for s in reading.submissions()] == [other.id]
    with pytest.raises(UserError, match=path):
        reading.submission(one.id)


def test_a_checkpoint_whose_manifest_has_changed_does_not_exist(storage) -> None:
    trial = storage.trial()
    submission = storage.submission(trials=[trial])
    for step in (20, 40):
        storage.checkpoint(trial, step)
    path = f"trials/{trial.id}/checkpoints/step_000000040/manifest.json"
    storage.store.write(path, storage.store.read(path).replace(b'"step": 40', b'"step": 41'))
    found = Reading(storage.store).trial(submission.id, trial.id).checkpoints
    assert [checkpoint.step for checkpoint in found] == [20]


def test_a_trial_with_everything(storage) -> None:
    trials = [storage.trial(ratio=0.5), storage.trial(ratio=0.75)]
    fork = storage.trial(ratio=0.5, parent=trials[0].id)
    submission = storage.submission(trials=trials)
    storage.submission("fork-20260116-101500", [fork])
    one = trials[0]
    storage.status(one, "stopped", 40, reason="asked to")
    storage.probe(one, 20, 0.25)
    storage.probe(one, 40, 0.5)
    storage.checkpoint(one, 20)
    storage.checkpoint(one, 40, num_bytes=2000)
    picture = storage.board(one, 40, (200, 30, 30))
    storage.store.append(f"trials/{one.id}/log.jsonl", '{"event": "training"}')
    storage.mlflow(one, "http://mlflow:5000")
    reading = Reading(storage.store)

    detail = reading.trial(submission.id, one.id)
    assert detail.summary.scores == {"probe/knn/top1": 0.5}
    assert detail.summary.label == "random 0.5 · seed 0"
    assert (detail.summary.state, detail.summary.reason) == ("stopped", "asked to")
    assert [(c.step, c.num_bytes) for c in detail.checkpoints] == [(20, 1000), (40, 2000)]
    assert detail.log_tail == ['{"event": "training"}']
    assert detail.mlflow_link == (
        "http://mlflow:5000/#/experiments/3/runs/abc?workflowType=machine_learning"
    )
    assert reading.submission(submission.id).mlflow_link is None
    storage.mlflow(submission, "http://mlflow:5000")
    assert reading.submission(submission.id).mlflow_link == (
        "http://mlflow:5000/#/experiments/3/runs?workflowType=machine_learning"
    )
    (difference,) = detail.differences
    assert (difference.key, difference.value, difference.others) == (
        "masking.ratio",
        "0.5",
        ["0.75"],
    )
    lines = detail.resolved_text.splitlines()
    assert [lines[i].strip() for i in detail.differing_lines] == ["ratio: 0.5"]
    (child,) = detail.lineage
    assert (child.id, child.relation) == (fork.id, "child")
    assert child.submissions == ["fork-20260116-101500"]
    (parent,) = reading.trial("fork-20260116-101500", fork.id).lineage
    assert (parent.id, parent.relation) == (one.id, "parent")
    assert detail.summary.board_steps == [40]
    assert reading.board(one.id, 40) == picture
    assert reading.submission_of(one.id) == submission.id
    (curve,) = reading.curves([one.id], ["probe/knn/top1"], 100)
    assert (curve.steps, curve.values) == ([20, 40], [0.25, 0.5])


@pytest.mark.parametrize("name", ["nothing", "../trials", "", ".", "a/b", "a\0b"])
def test_what_is_not_there_is_said(storage, name: str) -> None:
    trial = storage.trial()
    submission = storage.submission(trials=[trial])
    reading = Reading(storage.store)
    for ask in (
        lambda: reading.submission(name),
        lambda: reading.trial(submission.id, name),
        lambda: reading.submission_of(name),
        lambda: reading.board(name, 1),
    ):
        with pytest.raises(UserError):
            ask()
