"""Forks: what they take, which trial they are, where they begin, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from mimlab.actions import audit
from mimlab.actions.extend import extend
from mimlab.actions.fork import fork
from mimlab.actions.inheritance import first_step
from mimlab.actions.resume import resume_submission
from mimlab.data.segments import Place
from mimlab.errors import NotNow, TrialError, UserError
from mimlab.search.submission import reopen
from mimlab.serve.reading.reader import Reading
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.forks import awaited_steps
from mimlab.storage.records import StartRecord, TrialRecord
from mimlab.train.checkpoint import discard
from mimlab.train.session import Session
from mimlab.train.worker_config import WorkerConfig

RATIO = ["masking.ratio=0.9"]


@pytest.fixture
def parent(submission: SubmissionFolder, checkpointed) -> TrialFolder:
    """A trial that stopped at step 20 of 24, and has a checkpoint of step 10, too."""
    trial = submission.trials()[0]
    checkpointed(trial, 10)
    checkpointed(trial, 20)
    return trial


def forked(parent: TrialFolder, recorder, changes: list[str], **more: Any) -> TrialRecord:
    """The record of a fork."""
    found = fork(parent.store, parent.id, changes, launcher=recorder, by="ada", **more)
    (record,) = SubmissionFolder(parent.store, found).trial_records()
    return record


def start_of(record: TrialRecord) -> StartRecord:
    assert record.start is not None
    return record.start


def test_a_fork_that_cannot_be_started_now_is_resumed_later(
    parent, recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise NotNow("the head does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(recorder, "start", refuse)
        with pytest.raises(UserError, match="does not answer") as why:
            fork(parent.store, parent.id, RATIO, launcher=recorder, by="ada")
    (named,) = re.findall("resume (.+)`", str(why.value))
    resume_submission(parent.store, named, "ada", launcher=recorder)
    assert [launched.submission_id for launched in recorder.launched] == [named]


def session_of(parent: TrialFolder, record: TrialRecord, data: str) -> Session:
    told = WorkerConfig(
        storage=str(parent.store.root),
        submission_id="",
        trial_id=record.id,
        spec=record.resolved,
        data=data,
        fence=0,
        attempt=1,
        code_fingerprint="code",
        cpus=1.0,
    )
    return Session(told, TrialFolder(parent.store, record.id), Place(), torch.device("cpu"))


def test_a_fork_is_a_submission_of_one_trial_that_names_its_parent(parent, recorder) -> None:
    found = fork(parent.store, parent.id, RATIO, launcher=recorder, by="ada")
    submission = SubmissionFolder(parent.store, found)
    (record,) = submission.trial_records()
    assert (record.parent, record.parent_step) == (parent.id, 20)
    assert record.resolved["masking"]["ratio"] == 0.9 and record.point == {"masking.ratio": 0.9}
    assert submission.record().user == "ada"
    assert recorder.launched[0].words[:2] == ["supervise", found]
    assert reopen(submission).trials == [record]  # a driver finds the same trial
    assert awaited_steps(parent) == {20}
    (line,) = audit.read(parent.store)
    assert (line.what, line.on, line.details["step"]) == ("fork", parent.id, 20)


def test_another_masking_takes_all_of_the_state_and_reads_on(parent, recorder) -> None:
    start = start_of(forked(parent, recorder, RATIO))
    assert (start.takes, start.step, start.reads_on) == ("state", 20, True)
    assert start.drift == ["masking.ratio 0.5 → 0.9"]


def test_another_batch_size_begins_at_an_epoch(parent, recorder) -> None:
    changes = ["train.batch_size=50", "train.budget.steps=60"]
    start = start_of(forked(parent, recorder, changes))
    assert (start.takes, start.reads_on) == ("state", False)
    assert start.step == first_step(20 * 100 / 1438, 1438, 50) == 29  # of epoch 1
    other = start_of(forked(parent, recorder, [*changes], step=10))
    assert other.step == 0  # it was within the first epoch


def test_another_objective_takes_the_encoder_and_begins_anew(parent, recorder) -> None:
    change = ["objective={name: simmim}"]
    start = start_of(forked(parent, recorder, change))
    assert (start.takes, start.step, start.reads_on) == ("encoder", 0, False)


def test_another_decoder_takes_the_encoder(parent, recorder) -> None:
    start = start_of(forked(parent, recorder, ["objective.decoder_width=32"]))
    assert start.takes == "encoder"


def test_forks_of_two_checkpoints_are_two_trials(parent, recorder) -> None:
    newest = forked(parent, recorder, RATIO)
    older = forked(parent, recorder, RATIO, step=10)
    assert newest.id != older.id and (older.parent_step, start_of(older).step) == (10, 10)


def test_the_same_fork_twice_is_refused(parent, recorder) -> None:
    first = forked(parent, recorder, RATIO)
    with pytest.raises(UserError, match=f"is there already: trial {first.id}"):
        forked(parent, recorder, RATIO)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["backbone.embed_dim=64"], "the encoder would have other shapes"),
        (["data.image_size=32"], "the encoder would have other shapes"),
        (["train.budget.steps=20"], "ends at step 20; give it more"),
        (["train.log_every=3"], "nothing that changes its results is changed"),
        (["masking.ratioo=0.9"], "did you mean `ratio`"),
        (["masking.ratio=1.5"], "masking.ratio"),
        (["storage=elsewhere"], "stays in the storage of its parent"),
        (["backbone.init=timm"], "starts from its parent's checkpoint"),
        (["sweep.seeds=[0, 1]"], "make 2 trials, and a fork is one"),
    ],
)
def test_what_cannot_be_forked_is_refused_before_anything_is_written(
    parent, recorder, changes: list[str], told: str
) -> None:
    before = parent.store.list("trials"), parent.store.list("submissions")
    with pytest.raises(UserError, match=told):
        forked(parent, recorder, changes)
    assert (parent.store.list("trials"), parent.store.list("submissions")) == before
    assert recorder.launched == [] and awaited_steps(parent) == set()


def test_a_checkpoint_that_is_not_there_is_named(submission, parent, recorder) -> None:
    with pytest.raises(UserError, match="has no checkpoint of that step; it has 10, 20"):
        forked(parent, recorder, RATIO, step=15)
    with pytest.raises(UserError, match="has no checkpoint yet"):
        forked(submission.trials()[1], recorder, RATIO)


def test_training_begins_with_the_parents_state_and_the_forks_settings(
    submission, parent, recorder
) -> None:
    record = forked(parent, recorder, [*RATIO, "train.optimizer.betas=[0.8, 0.9]"])
    session = session_of(parent, record, str(reopen(submission).data.root))
    run, start = session.prepared(None)
    assert start == 20
    trained = [p for p in session.objective.parameters() if p.requires_grad]
    assert all(torch.all(p == 0.02) for p in trained)
    assert run.optimizer.param_groups[0]["betas"] == (0.8, 0.9)
    assert run.meter.visible_tokens == 400.0 * 20


def test_training_of_another_objective_begins_with_the_encoder(
    submission, parent, recorder
) -> None:
    record = forked(parent, recorder, ["objective.decoder_width=32"])
    session = session_of(parent, record, str(reopen(submission).data.root))
    run, start = session.prepared(None)
    assert start == 0 and run.meter.visible_tokens == 0.0
    assert all(torch.all(p == 0.02) for p in session.objective.backbone.vit.parameters())
    others = dict(session.objective.named_parameters()).items()
    rest = [p for name, p in others if not name.startswith("backbone.") and p.ndim > 1]
    assert not any(torch.all(p == 0.02) for p in rest)


def test_a_checkpoint_that_is_gone_fails_the_fork_alone(submission, parent, recorder) -> None:
    record = forked(parent, recorder, RATIO)
    discard(parent, 20)
    session = session_of(parent, record, str(reopen(submission).data.root))
    with pytest.raises(TrialError, match="is gone or has changed"):
        session.prepared(None)


def test_a_trial_is_extended_by_a_fork_of_its_last_checkpoint(parent, recorder) -> None:
    found = extend(parent.store, parent.id, {"steps": 48.0}, launcher=recorder, by="ada")
    (record,) = SubmissionFolder(parent.store, found).trial_records()
    start = start_of(record)
    assert (start.takes, start.step, start.reads_on) == ("state", 20, True)
    assert start.drift == ["train.budget.steps 24 → 48"]
    assert record.point == {"masking.ratio": 0.5, "train.budget.steps": 48}


def test_every_trial_of_a_submission_is_extended(submission, parent, recorder, checkpointed):
    with pytest.raises(UserError, match="has no checkpoint yet"):
        extend(parent.store, submission.id, {"epochs": 4.0}, launcher=recorder, by="ada")
    checkpointed(submission.trials()[1], 24)
    found = extend(parent.store, submission.id, {"epochs": 4.0}, launcher=recorder, by="ada")
    extended = SubmissionFolder(parent.store, found)
    records = extended.trial_records()
    assert [record.parent for record in records] == [t.id for t in submission.trials()]
    assert [record.parent_step for record in records] == [20, 24]
    assert extended.record().options[-2:] == ["--set", "train.budget.epochs=4"]
    assert reopen(extended).trials == records


def test_the_extension_of_a_search_is_complete(
    tmp_path, create_tiny, recorder, checkpointed
) -> None:
    search = "{name: optuna, num_trials: 5, startup_trials: 2, metric: probe/knn/top1}"
    axes = "sweep.axes={masking.ratio: {low: 0.3, high: 0.9}}"
    searched = create_tiny(tmp_path, axes, f"sweep.search={search}", "sweep.seeds=[0]").submission
    for trial in searched.trials():
        checkpointed(trial, 24)
    found = extend(searched.store, searched.id, {"epochs": 4.0}, launcher=recorder, by="ada")
    extended = SubmissionFolder(searched.store, found)
    assert len(extended.trials()) == len(searched.trials()) < 5
    planned = reopen(extended)
    assert planned.space is None and planned.num_trials == len(searched.trials())
    summary = Reading(searched.store).submission(found).summary
    assert summary.num_trials == len(searched.trials())


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ({"steps": 22.0}, "has a budget of 24 steps already"),
        ({"epochs": 1.0, "steps": 9.0}, "a budget is exactly one of"),
        ({"hours": 3.0}, "a budget is exactly one of"),
        ({"gpu_hours": 3.0}, "gpus_per_worker is 0"),
    ],
)
def test_a_budget_that_extends_nothing_is_refused(
    parent, recorder, budget: dict[str, float], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        extend(parent.store, parent.id, budget, launcher=recorder, by="ada")
    assert recorder.launched == []
